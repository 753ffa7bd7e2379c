"""Vectors of a few numbers as values in compiled loops: v = load(x, 0, LANES) * load(y, 0, LANES); store(z, 0, v).

The compiler leaves short loops scalar when it cannot rule out that their arrays overlap, and rows of 8 or 16 channels
are short. With vectors nothing is left to it: each operation becomes an instruction, or as many as the machine needs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

LANES = 8
"""Numbers in a vector where rows are whole multiples of it: one AVX register of float32, two of float64."""
CONTRACT = ("contract",)


def lanes_of(*columns: int) -> int:
    """Return how many numbers of rows of so many columns are handled at once: LANES or, where they do not fit, 1."""
    return LANES if all(n % LANES == 0 for n in columns) else 1


class Vector(types.Type):  # type: ignore[misc]
    """The type of a vector.

    Parameters
    ----------
    dtype : numba type
        Type of its numbers.
    lanes : int
        How many.
    """

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.dtype).get_value_type(), kind.lanes))


def _instruction(function: Callable[..., Any]) -> Any:
    """Make a function of types that returns what generates the code."""
    return intrinsic(prefer_literal=True)(function)


def _element(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    """Return a pointer to the vector that begins at an index."""
    data = cgutils.create_struct_proxy(kind)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@_instruction
def load(typing: Any, array: Any, start: Any, lanes: Any) -> Any:
    """Return `lanes` numbers (a constant) of a contiguous array (1-D) from `start` on, which is not negative."""
    kind = Vector(array.dtype, lanes.literal_value)

    def generate(context: Any, builder: Any, how: Any, arguments: Any) -> Any:
        array, start, _ = arguments
        vector = context.get_value_type(kind)
        return builder.load(_element(context, builder, how.args[0], array, start, vector), align=4)

    return kind(array, types.intp, lanes), generate


@_instruction
def store(typing: Any, array: Any, start: Any, value: Any) -> Any:
    """Write a vector to a contiguous array (1-D) from `start` on, which is not negative."""

    def generate(context: Any, builder: Any, how: Any, arguments: Any) -> Any:
        array, start, value = arguments
        builder.store(value, _element(context, builder, how.args[0], array, start, value.type), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@_instruction
def spread(typing: Any, number: Any, lanes: Any) -> Any:
    """Return a vector of `lanes` (a constant) times the same number."""
    dtype = types.unliteral(number)
    kind = Vector(dtype, lanes.literal_value)

    def generate(context: Any, builder: Any, how: Any, arguments: Any) -> Any:
        vector = context.get_value_type(kind)
        undefined = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(undefined, arguments[0], ir.Constant(ir.IntType(32), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes)
        return builder.shuffle_vector(one, undefined, places)

    return kind(dtype, lanes), generate


@_instruction
def total(typing: Any, value: Any) -> Any:
    """Return the sum of the numbers of a vector, added in any order."""

    def generate(context: Any, builder: Any, how: Any, arguments: Any) -> Any:
        real = context.get_value_type(value.dtype)
        name = f"llvm.vector.reduce.fadd.v{value.lanes}f{32 if value.dtype == types.float32 else 64}"
        kind = ir.FunctionType(real, (real, arguments[0].type))
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, (ir.Constant(real, 0.0), arguments[0]), fastmath=("reassoc",))

    return value.dtype(value), generate


@_instruction
def square_root(typing: Any, value: Any) -> Any:
    """Return the square roots of the numbers of a vector."""

    def generate(context: Any, builder: Any, how: Any, arguments: Any) -> Any:
        vector = arguments[0].type
        name = f"llvm.sqrt.v{value.lanes}f{32 if value.dtype == types.float32 else 64}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, (vector,)), name)
        return builder.call(function, arguments)

    return value(value), generate


def _operation(symbol: Any, instruction: str) -> None:
    """Define an operator of two vectors."""

    @infer_global(symbol)  # type: ignore[misc]
    class _Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, arguments: Any, named: Any) -> Any:
            if len(arguments) == 2 and all(isinstance(a, Vector) for a in arguments) and arguments[0] == arguments[1]:
                return signature(arguments[0], *arguments)
            return None

    @lower_builtin(symbol, Vector, Vector)  # type: ignore[misc]
    def _generate(context: Any, builder: Any, how: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments, flags=CONTRACT)


_operation(operator.add, "fadd")
_operation(operator.sub, "fsub")
_operation(operator.mul, "fmul")
_operation(operator.truediv, "fdiv")
