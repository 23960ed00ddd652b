"""What a step on two rows needs of the CPU and loops over factors do not give it.

Of 50 factors the compiler's own loops take 32 by vectors and 18 one by one, and a row that is not
in the cache is waited for. Here the last factors are taken by shorter vectors, and a row is asked
for some steps before it is needed.
"""

from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import NumbaTypeError
from numba.extending import intrinsic

WIDE = ir.IntType(64)
# Bytes of the vectors of a row, widest first; the compiler cuts what the CPU does not have.
VECTOR_BYTES = (64, 32, 16)
LINE_BYTES = 64
FLAGS = ("reassoc", "contract", "nsz")


def _number(value: int) -> Any:
    return ir.Constant(WIDE, value)


class _Row:
    """A row of a table in code that is being made: where it begins, and its factors."""

    def __init__(self, context: Any, builder: Any, given: Any, at: int) -> None:
        table, row = given.types[at], given.values[at + 1]
        if table.layout != "C":
            raise NumbaTypeError("rows of tables that are not contiguous")
        array = context.make_array(table)(context, builder, given.values[at])
        place = context.cast(builder, row, given.types[at + 1], types.intp)
        self.builder = builder
        self.width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
        self.bytes = cgutils.unpack_tuple(builder, array.strides, 2)[0]
        self.start = cgutils.get_item_pointer(
            context, builder, table, array, [place, _number(0)], wraparound=False
        )

    def at(self, factor: Any, kind: Any) -> Any:
        """The address of a factor, as that of a number or a vector."""
        return self.builder.bitcast(self.builder.gep(self.start, [factor]), kind.as_pointer())


class _Given:
    """Arguments with their types."""

    def __init__(self, signature: Any, values: Any) -> None:
        self.types, self.values = signature.args, values


def _vectors(builder: Any, element: Any, size: int, width: Any) -> Iterator[tuple[Any, Any]]:
    """Loops over all factors of a row: the type of what is taken at once, and the first factor."""
    done = _number(0)
    for lanes in (*(length // size for length in VECTOR_BYTES), 1):
        end = builder.and_(width, _number(-lanes))
        kind = element if lanes == 1 else ir.VectorType(element, lanes)
        with cgutils.for_range_slice(builder, done, end, _number(lanes), intp=WIDE) as (factor, _):
            yield kind, factor
        done = end


def _spread(builder: Any, number: Any, kind: Any) -> Any:
    """A number in each place of a vector."""
    if not isinstance(kind, ir.VectorType):
        return number
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, nothing, places)


def _sum(builder: Any, vector: Any) -> Any:
    """The sum of a vector, half by half."""
    if not isinstance(vector.type, ir.VectorType):
        return vector
    while vector.type.count > 1:
        half = vector.type.count // 2
        nothing = ir.Constant(vector.type, ir.Undefined)
        of_half = ir.VectorType(ir.IntType(32), half)
        low, high = (
            builder.shuffle_vector(
                vector, nothing, ir.Constant(of_half, list(range(first, first + half)))
            )
            for first in (0, half)
        )
        vector = builder.fadd(low, high, flags=FLAGS)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic  # type: ignore[untyped-decorator]
def row_dot(context: Any, users: Any, user: Any, items: Any, item: Any) -> tuple[Any, Callable]:  # type: ignore[type-arg]
    """The dot product of a row of one table and a row of another."""

    def made(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        given = _Given(signature, values)
        p, q = (_Row(context, builder, given, at) for at in (0, 2))
        element = context.get_value_type(users.dtype)
        sums: dict[Any, Any] = {}
        kinds = [ir.VectorType(element, size * 8 // users.dtype.bitwidth) for size in VECTOR_BYTES]
        for kind in (*kinds, element):
            zero = [0.0] * kind.count if isinstance(kind, ir.VectorType) else 0.0
            sums[kind] = cgutils.alloca_once_value(builder, ir.Constant(kind, zero))
        for kind, factor in _vectors(builder, element, users.dtype.bitwidth // 8, p.width):
            x, y = (builder.load(row.at(factor, kind), align=4) for row in (p, q))
            product = builder.fmul(x, y, flags=FLAGS)
            builder.store(builder.fadd(builder.load(sums[kind]), product, flags=FLAGS), sums[kind])
        total = ir.Constant(element, 0.0)
        for place in sums.values():
            total = builder.fadd(total, _sum(builder, builder.load(place)), flags=FLAGS)
        return total

    return users.dtype(users, user, items, item), made


@intrinsic  # type: ignore[untyped-decorator]
def move_rows(  # type: ignore[no-untyped-def]
    context, users, user, items, item, user_keep, user_move, item_keep, item_move
):
    """Take p to user_keep p - user_move q and q to item_keep q - item_move p, at once."""

    def made(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        given = _Given(signature, values)
        p, q = (_Row(context, builder, given, at) for at in (0, 2))
        element = context.get_value_type(users.dtype)

        def moved(keep: Any, row: Any, move: Any, other: Any) -> Any:
            kept, taken = builder.fmul(keep, row, flags=FLAGS), builder.fmul(move, other, flags=FLAGS)
            return builder.fsub(kept, taken, flags=FLAGS)

        for kind, factor in _vectors(builder, element, users.dtype.bitwidth // 8, p.width):
            keep_p, move_q, keep_q, move_p = (
                _spread(builder, value, kind) for value in values[4:]
            )
            at_p, at_q = p.at(factor, kind), q.at(factor, kind)
            x, y = builder.load(at_p, align=4), builder.load(at_q, align=4)
            builder.store(moved(keep_p, x, move_q, y), at_p, align=4)
            builder.store(moved(keep_q, y, move_p, x), at_q, align=4)
        return context.get_dummy_value()

    number = users.dtype
    return types.void(users, user, items, item, number, number, number, number), made


@intrinsic  # type: ignore[untyped-decorator]
def fetch_row(context, table, row):  # type: ignore[no-untyped-def]
    """Ask the memory for a row that will be changed, without waiting for it."""

    def made(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        wanted = _Row(context, builder, _Given(signature, values), 0)
        address, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, flag, flag, flag])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        start = builder.bitcast(wanted.start, address)
        lines = cgutils.for_range_slice(
            builder, _number(0), wanted.bytes, _number(LINE_BYTES), intp=WIDE
        )
        with lines as (offset, _):
            # To be written, to be kept in all caches, data.
            flags = [ir.Constant(flag, number) for number in (1, 3, 1)]
            builder.call(ask, [builder.gep(start, [offset]), *flags])
        return context.get_dummy_value()

    return types.void(table, row), made
