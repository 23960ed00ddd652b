"""What a step on two rows needs of the CPU and loops over factors do not give it.

Of 50 factors the compiler's own loops take 32 by vectors and 18 one by one, and a row that is not
in the cache is waited for. Here the last factors are taken by shorter vectors, and a row is asked
for some steps before it is needed.
"""

from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba.core import cgutils as untyped
from numba.core import types
from numba.core.errors import NumbaTypeError
from numba.extending import intrinsic

cgutils: Any = untyped
WIDE = ir.IntType(64)
# Of the widest vectors of a row; the compiler cuts what the CPU does not have.
VECTOR_BYTES = 64
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
    """All factors of a row: the type of what is taken at once, and the first factor of it.

    A loop over the widest vectors, then one of each half of it where the width has that bit.
    """
    lanes = VECTOR_BYTES // size
    done = builder.and_(width, _number(-lanes))
    with cgutils.for_range_slice(builder, _number(0), done, _number(lanes), intp=WIDE) as (
        factor,
        _,
    ):
        yield ir.VectorType(element, lanes), factor
    while lanes > 1:
        lanes //= 2
        wanted = builder.icmp_unsigned("!=", builder.and_(width, _number(lanes)), _number(0))
        with builder.if_then(wanted):
            yield ir.VectorType(element, lanes), done
        done = builder.add(done, builder.and_(width, _number(lanes)))


def _spread(builder: Any, number: Any, kind: Any) -> Any:
    """A number in each place of a vector."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, nothing, places)


def _halved(builder: Any, vector: Any) -> Any:
    """The two halves of a vector, added."""
    half = vector.type.count // 2
    nothing, of_half = ir.Constant(vector.type, ir.Undefined), ir.VectorType(ir.IntType(32), half)
    low, high = (
        builder.shuffle_vector(vector, nothing, ir.Constant(of_half, list(range(at, at + half))))
        for at in (0, half)
    )
    return builder.fadd(low, high, flags=FLAGS)


@intrinsic
def row_dot(context, users, user, items, item):  # type: ignore[no-untyped-def]
    """The dot product of a row of one table and a row of another."""

    def made(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        given = _Given(signature, values)
        p, q = (_Row(context, builder, given, at) for at in (0, 2))
        element = context.get_value_type(users.dtype)
        size = users.dtype.bitwidth // 8
        sums = []
        lanes = VECTOR_BYTES // size
        while lanes:
            zero = ir.Constant(ir.VectorType(element, lanes), [0.0] * lanes)
            sums.append(cgutils.alloca_once_value(builder, zero))
            lanes //= 2
        for (kind, factor), place in zip(
            _vectors(builder, element, size, p.width), sums, strict=True
        ):
            x, y = (builder.load(row.at(factor, kind), align=4) for row in (p, q))
            product = builder.fmul(x, y, flags=FLAGS)
            builder.store(builder.fadd(builder.load(place), product, flags=FLAGS), place)
        total = builder.load(sums[0])
        for place in sums[1:]:
            total = builder.fadd(_halved(builder, total), builder.load(place), flags=FLAGS)
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return users.dtype(users, user, items, item), made


@intrinsic
def move_rows(  # type: ignore[no-untyped-def]
    context, users, user, items, item, user_keep, user_move, item_keep, item_move
):
    """Take p to user_keep p - user_move q and q to item_keep q - item_move p, at once."""

    def made(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        given = _Given(signature, values)
        p, q = (_Row(context, builder, given, at) for at in (0, 2))
        element = context.get_value_type(users.dtype)

        def moved(keep: Any, row: Any, move: Any, other: Any) -> Any:
            kept, taken = (
                builder.fmul(keep, row, flags=FLAGS),
                builder.fmul(move, other, flags=FLAGS),
            )
            return builder.fsub(kept, taken, flags=FLAGS)

        for kind, factor in _vectors(builder, element, users.dtype.bitwidth // 8, p.width):
            keep_p, move_q, keep_q, move_p = (_spread(builder, value, kind) for value in values[4:])
            at_p, at_q = p.at(factor, kind), q.at(factor, kind)
            x, y = builder.load(at_p, align=4), builder.load(at_q, align=4)
            builder.store(moved(keep_p, x, move_q, y), at_p, align=4)
            builder.store(moved(keep_q, y, move_p, x), at_q, align=4)
        return context.get_dummy_value()

    number = users.dtype
    return types.void(users, user, items, item, number, number, number, number), made


@intrinsic
def fetch(context, table, row, column):  # type: ignore[no-untyped-def]
    """Ask the memory for the line of an entry that will be changed, without waiting for it."""

    def made(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        wanted = _Row(context, builder, _Given(signature, values), 0)
        address, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, flag, flag, flag])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        place = context.cast(builder, values[2], signature.args[2], types.intp)
        start = builder.bitcast(builder.gep(wanted.start, [place]), address)
        # To be written, to be kept in all caches, data.
        builder.call(ask, [start, *(ir.Constant(flag, number) for number in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(table, row, column), made
