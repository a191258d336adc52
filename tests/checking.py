"""An import hook: types of arguments and results are checked at every call of the package, shapes too.

`jaxtyping.install_import_hook` wraps every function for shapes, also those that name none and those that
are made anew at each call of another: a tenth of the time of tests that trace much. Here jaxtyping checks
functions and classes whose annotations name shapes, and beartype alone all others that are annotated.
Functions inside functions are checked where they name shapes.
"""

import ast
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import cache_from_source
from unittest.mock import patch

TYPES = "_beartype.beartype(conf=_beartype.BeartypeConf(violation_type=TypeError))"  # jaxtyping's is one, too
SHAPES = "_jaxtyping.jaxtyped(typechecker=_beartype.beartype)"
VERSION = "checked2"  # part of the name of compiled files: another one when what is decorated changes


def names_shape(annotations):
    """Whether there is a string in these annotations, as in `Float[Array, "T B n"]`.

    Those that name a class by a string go the same way: jaxtyping lets pass what it cannot look up.
    """
    parts = [part for annotation in annotations for part in ast.walk(annotation)]
    return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts)


def annotations_of(function):
    """The annotations of arguments and of the result."""
    given = function.args
    listed = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    found = [a.annotation for a in listed if a is not None] + [function.returns]
    return [a for a in found if a is not None]


def decorate(node, inside=False):
    """Add the decorators to the functions and classes in a node; `inside` of a function, to some of them."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            continue  # no expression holds a function that is annotated
        is_function = isinstance(child, ast.FunctionDef)
        decorate(child, inside or is_function)
        annotations = annotations_of(child) if is_function else []
        if isinstance(child, ast.ClassDef):
            child.decorator_list.insert(0, decorator(SHAPES, child))  # wraps what a dataclass is made with
        elif names_shape(annotations):
            child.decorator_list.append(decorator(SHAPES, child))
        elif annotations and not inside:
            child.decorator_list.append(decorator(TYPES, child))


def decorator(source, node):
    """The decorator, in the line of what it is added to."""
    made = ast.parse(source, mode="eval").body
    for part in ast.walk(made):
        ast.copy_location(part, node)
    return made


def import_both(module):
    """Import what the decorators need, behind the docstring and imports from the future."""
    first = int(ast.get_docstring(module) is not None)
    while first < len(module.body) and getattr(module.body[first], "module", None) == "__future__":
        first += 1
    module.body[first:first] = ast.parse("import beartype as _beartype, jaxtyping as _jaxtyping").body


class Loader(SourceFileLoader):
    def source_to_code(self, data, path, *, _optimize=-1):
        tree = ast.parse(data, path)
        decorate(tree)
        import_both(tree)
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)

    def get_code(self, fullname):
        """The compiled module, kept in a file of its own beside that of the module as it is."""
        own = lambda path, debug_override=None, **_: cache_from_source(path, optimization=VERSION)
        with patch("importlib._bootstrap_external.cache_from_source", own):
            return super().get_code(fullname)


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != "perturbax":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install():
    """Check the annotations of every module of the package that is imported from now on."""
    sys.meta_path.insert(0, Finder())
