"""Cascaded forward learning: every layer has a head, and learns from that alone."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.fields import one_of, positive, setting
from perturbax.learning.facts import Facts
from perturbax.learning.rule import SequenceRule
from perturbax.network.layer import advance_batch, drive_batch, join, split
from perturbax.network.network import Network
from perturbax.network.sources import Source

FORGETTING = 0.99  # share of what was read so far that counts in the next update, where blocks change


class Read(NamedTuple):
    """What the heads of a network read in a sequence.

    Attributes:
        z: outputs of each hidden layer, `(T, B, n_b)`.
        a: pre-activations of the heads, `(T, B, L, n_out)`.
    """

    z: list[Array]
    a: Array


class Sums(NamedTuple):
    """What least squares of one head needs.

    Attributes:
        zz: sum of z z^T, `(n_b, n_b)`.
        zy: sum of z y^T, `(n_b, n_out)`.
        rows: how many answers were asked for.
    """

    zz: Array
    zy: Array
    rows: Array


class Cascaded(SequenceRule):
    """Cascaded forward: each hidden layer learns from the loss of its own head; no error crosses layers.

        L = sum_b L_b(z_b V_b),   z_b = f_b(sg(z_{b-1})),   sg: held constant

    The network has a head above every hidden layer (`--heads auto`, which this rule brings: softmax where the
    task asks for classes, else linear), and answers with their mean. Softmax and linear heads learn by the
    loss of the task on their own answers, sparsemax heads by the loss that belongs to them. Within a layer
    errors go through one step, or back in time.
    Linear heads may be solved for instead: their estimate is V - (Z^T Z / rows + ridge)^-1 Z^T Y / rows over
    all rows so far, so that plain SGD at rate 1 puts them there. Zhao et al. 2023, whose code has random
    blocks alone.

    Attributes:
        blocks: trained, or random (hidden layers stay as they are; heads alone learn).
        solve: whether linear heads are solved for in closed form.
        ridge: what is added to the diagonal then, in units of the mean square of what is read.
        time: whole (errors go back through the steps of their layer) or step (through one step alone).
    """

    blocks: str = setting("trained")
    solve: bool = setting(False)
    ridge: float = setting(1e-4)
    time: str = setting("whole")

    facts: ClassVar[Facts] = Facts(
        equation="dA_b = dL_b/da_b, z_{b-1} constant",
        target="gradient of the sum of local losses, cut between layers, exact",
        uses=("output error", "stored sequence", "derivatives", "transposed weights"),
        cost="3 passes",
        memory="T x B x units of one layer",
        papers=("zhao2023", "martins2016"),
        passes=3,
        run_settings={"heads": "auto"},
    )

    def __check_init__(self) -> None:
        """Check what learns, and how."""
        one_of("blocks", self.blocks, ("trained", "random"))
        one_of("time", self.time, ("whole", "step"))
        positive("ridge", self.ridge)

    def described(self) -> Facts:
        """Return the facts: random blocks need no derivative."""
        facts = super().described()
        if self.solve:
            facts = facts.but(keeps="sums of what every head reads")
        if self.blocks == "random":
            facts = facts.but(
                equation="dV_b = (y_b - y*) z_b^T, 0 elsewhere",
                target="gradient of every head, exact; hidden layers stay",
                uses=("own activity", "output error"),
                cost="1 pass",
                memory="constant",
                passes=1,
            )
        return facts

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return empty sums for each head that is solved for."""
        heads = _check(net, self.solve)
        if not self.solve:
            return ()
        return [
            Sums(jnp.zeros((len(V), len(V)), V.dtype), jnp.zeros_like(V), jnp.zeros((), V.dtype))
            for V in heads.V
        ]

    def modify_updates(self, updates: Network, some: Network) -> Network:
        """Return the updates, zeros for blocks that are random."""
        if self.blocks == "trained":
            return updates
        still = jax.tree.map(jnp.zeros_like, updates.layers[:-1])
        return updates.like((*still, updates.layers[-1]), updates.decor)

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Return the gradient of the sum of local losses."""
        heads = _check(net, self.solve)
        some, rest = split(net)
        hidden, own = some.layers[:-1], some.layers[-1]

        def local(hidden: Any, own: Any) -> tuple[Array, Read]:
            moved = join(some.like((*hidden, own)), rest)
            read = _read(moved, xs, self.time == "step")
            losses = [_loss_of(heads, read.a[:, :, b], ys, loss) for b in range(read.a.shape[2])]
            return jnp.stack(losses).sum(), read

        if self.blocks == "trained":
            (of_hidden, of_own), read = jax.grad(local, (0, 1), has_aux=True)(hidden, own)
        else:
            of_own, read = jax.grad(local, 1, has_aux=True)(hidden, own)
            of_hidden = jax.tree.map(jnp.zeros_like, hidden)
        if self.solve:
            kept = FORGETTING if self.blocks == "trained" else 1.0
            state = [_added(sums, z, ys, kept) for sums, z in zip(state, read.z, strict=True)]
            solved = [_solution(sums, self.ridge) for sums in state]
            V = tuple(v - s for v, s in zip(heads.V, solved, strict=True))
            of_own = jax.tree.unflatten(jax.tree.structure(of_own), V)
        y = _answers(net.layers[-1], read.a)  # (T, B, n_out)
        return state, jax.vmap(loss)(y, ys).mean(), some.like((*of_hidden, of_own))


def _check(net: Network, solve: bool) -> Any:
    """Return the last layer of a network; LayerError for one without a head above every hidden layer."""
    last: Any = net.layers[-1]
    n = len(net.layers) - 1
    stacked = all(net.sources(i) == (Source(i - 1),) for i in range(n))
    plain = not (net.residual or net.normalise) and all(D is None for D in net.decor)
    if not (stacked and plain and (_has_heads(last) or n == 1)):
        raise LayerError(
            "cascaded learns by a head above every layer of a plain stack: take heads linear, softmax or "
            "sparsemax, without decorrelation"
        )
    if solve and getattr(last, "kind", "") != "linear":
        raise LayerError("only linear heads are solved for in closed form: take heads linear")
    return last


def _read(net: Network, xs: Array, one_step: bool) -> Read:
    """Return what the heads read in a sequence; no derivative crosses from a layer to the one below it.

    Arguments:
        net: the network.
        xs: inputs `(T, B, n_in)`.
        one_step: whether derivatives are cut between steps, too.
    """

    def step(state: PyTree, x: Array) -> tuple[PyTree, tuple]:
        carried = jax.lax.stop_gradient(state) if one_step else state
        z, after, outputs = x, [], []
        for i, layer in enumerate(net.layers[:-1]):
            h, r = carried[i]
            a = drive_batch(i, layer, z, r, "the layer below")
            h, y = advance_batch(i, layer, h, a)
            after.append((h, y))
            outputs.append(y)
            z = jax.lax.stop_gradient(y)
        last, (h, r) = len(net.layers) - 1, carried[-1]
        beside = jnp.concatenate(outputs, -1)  # (B, n_1 + ... + n_L)
        a = drive_batch(last, net.layers[-1], beside, r, "all layers below")
        h, y = advance_batch(last, net.layers[-1], h, a)
        return (*after, (h, y)), (outputs, a if a.ndim == 3 else y[:, None])

    z, a = jax.lax.scan(step, net.start(xs.shape[1]), xs)[1]
    return Read(z, a)


def _has_heads(layer: Any) -> bool:
    """Whether a layer is a readout with a head above every hidden layer, as `px.cells.Heads` is."""
    return hasattr(layer, "loss_of_head")


def _loss_of(heads: Any, a: Array, ys: Array, loss: Callable) -> Array:
    """Return the loss of one head, averaged over steps and examples.

    Arguments:
        heads: the last layer.
        a: pre-activations of the head, `(T, B, n_out)`; its outputs where it is no `Heads`.
        ys: targets.
        loss: that of the task, step by step.
    """
    return heads.loss_of_head(a, ys, loss) if _has_heads(heads) else jax.vmap(loss)(a, ys).mean()


def _answers(heads: Any, a: Array) -> Array:
    """Return the outputs of the network, `(T, B, n_out)`, from pre-activations `(T, B, L, n_out)`."""
    return heads.logarithm(heads.says(a).mean(2)) if _has_heads(heads) else a[:, :, 0]


def _added(sums: Sums, z: Array, ys: Array, kept: float) -> Sums:
    """Return the sums of a head after a sequence: z `(T, B, n_b)`, targets `(T, B, n_out)`."""
    asked = ~jnp.isnan(ys).any(-1)  # (T, B)
    z = jnp.where(asked[..., None], z, 0).reshape(-1, z.shape[-1])
    y = jnp.where(asked[..., None], ys, 0).reshape(-1, ys.shape[-1]).astype(z.dtype)
    zz, zy = kept * sums.zz + z.T @ z, kept * sums.zy + z.T @ y
    return Sums(zz, zy, kept * sums.rows + asked.sum().astype(z.dtype))


def _solution(sums: Sums, ridge: float) -> Array:
    """Return the weights of a head that ridge regression finds, `(n_b, n_out)`."""
    n = len(sums.zz)
    size = jnp.maximum(jnp.trace(sums.zz) / n, 1e-12)  # mean square of what is read, times the rows
    return jnp.linalg.solve(sums.zz + ridge * size * jnp.eye(n, dtype=sums.zz.dtype), sums.zy)
