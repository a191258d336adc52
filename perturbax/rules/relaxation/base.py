"""What the rules that relax share: how often, how fast, and over which vertices errors settle."""

from perturbax.fields import in_range, one_of, setting
from perturbax.learning.facts import Facts
from perturbax.learning.rule import SequenceRule

VERTICES = ("steps", "layers")
WAY_BACK = ("output error", "stored sequence", "derivatives", "transposed weights")
"""What sending errors back through the graph uses."""


class Relaxation(SequenceRule):
    """Base of the rules whose errors settle in sweeps over the whole sequence.

    Attributes:
        sweeps: how often all errors are updated.
        rate: of each update, above 0, at most 1.
        vertices: steps (errors cross the layers of one step at once) or layers (each layer has errors of its
            own, and a sweep takes them one layer down or one step back: in a stack T - 1 + hidden layers are
            exact).
    """

    sweeps: int = 8
    rate: float = 1.0
    vertices: str = setting("steps")

    def __check_init__(self) -> None:
        """Check the sweeps and what relaxes."""
        in_range("sweeps", self.sweeps, 0)
        in_range("rate", self.rate, 0, 1, above=True)
        one_of("vertices", self.vertices, VERTICES)

    def described(self) -> Facts:
        """Return the facts: a sweep sends errors back once through every step, and where slopes move it
        runs every step before.
        """
        per_sweep = 3 if self.slopes_move else 2
        return super().described().but(passes=3 + per_sweep * self.sweeps)

    @property
    def slopes_move(self) -> bool:
        """Whether derivatives are taken anew in every sweep."""
        return False
