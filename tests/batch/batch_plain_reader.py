"""A second column decoder that follows docs/batch.md word by word: slow, plain, no arrays.

It shares nothing with the product but the table of code word lengths.
"""

from itertools import accumulate, chain

from bordnetz.batch.codes import LENGTHS

MASK = (1 << 64) - 1


def signed(number: int) -> int:
    number &= MASK
    return number - (1 << 64) if number >> 63 else number


def unfolded(number: int) -> int:
    return -(number + 1) // 2 if number % 2 else number // 2


def codebook(line: str) -> dict[str, int]:
    """Code words as texts of 0 and 1, the bit sent first on the left."""
    words = {}
    value = 0
    before = 0
    for length, symbol in sorted((int(digit, 16), symbol) for symbol, digit in enumerate(line)):
        value <<= length - before
        before = length
        words[f"{value:0{length}b}"] = symbol
        value += 1
    return words


BOOKS = [codebook(line) for line in LENGTHS]


class PlainReader:
    def __init__(self, data: bytes) -> None:
        size = at = 0
        while True:
            size |= (data[at] & 127) << 7 * at
            at += 1
            if data[at - 1] < 128:
                break
        self.words = self.bits(data[at : at + size])
        self.plain = self.bits(data[at + size :])
        self.word_at = self.plain_at = 0

    @staticmethod
    def bits(data: bytes) -> str:
        return "".join(f"{byte:08b}"[::-1] for byte in data)

    def field(self, width: int) -> int:
        text = self.plain[self.plain_at : self.plain_at + width]
        self.plain_at += width
        return int(text[::-1] or "0", 2)

    def symbol(self, code: int) -> int:
        end = self.word_at
        while self.words[self.word_at : end] not in BOOKS[code]:
            end += 1
        symbol = BOOKS[code][self.words[self.word_at : end]]
        self.word_at = end
        return symbol

    def small(self, count: int, most: int) -> list[int]:
        if count <= 64:
            return [self.field(most) for _ in range(count)]
        coding = self.field(5)
        if coding < 21:
            return [self.symbol(coding) for _ in range(count)]
        return [self.field(coding - 21) for _ in range(count)]

    def numbers(self, count: int) -> list[int]:
        lengths = self.small(count, 7)
        return [1 << b - 1 | self.field(b - 1) if b else 0 for b in lengths]

    def residuals(self, counts: list[int]) -> list[list[int]]:
        pools = self.small(len(counts), 3)
        dense = [i for i, pool in enumerate(pools) if not pool]
        coded = [counts[i] for i in dense]
        sparse = sorted((pool, i) for i, pool in enumerate(pools) if pool)
        if sparse:
            filled = [number for number in self.numbers(4) if number]
            coded += filled + filled
        values = self.coded(coded) if coded else []
        columns = dict(zip(dense, values, strict=False))
        if sparse:
            gaps = chain(*values[len(dense) : len(dense) + len(filled)])
            sizes = chain(*values[len(dense) + len(filled) :])
            laid: list[int] = []
            for gap, size in zip(gaps, sizes, strict=True):
                laid += [0] * gap + [size + 1]
            laid += [0] * (sum(counts[i] for _, i in sparse) - len(laid))
            for _, i in sparse:
                columns[i], laid = laid[: counts[i]], laid[counts[i] :]
        return [columns[i] for i in range(len(counts))]

    def coded(self, counts: list[int]) -> list[list[int]]:
        codings = self.small(len(counts), 5)
        shifts = self.small(len(counts), 7)
        runs = sorted({coding for coding in codings if coding < 21})
        sizes = self.numbers(len(runs))
        values = [
            [self.field(shift) for _ in range(count)]
            for shift, count in zip(shifts, counts, strict=True)
        ]
        escaped = []
        for coding, size in zip(runs, sizes, strict=True):
            begin = self.word_at
            for i in [i for i, other in enumerate(codings) if other == coding]:
                for row in range(counts[i]):
                    symbol = self.symbol(coding)
                    values[i][row] += symbol << shifts[i]
                    if symbol == 31:
                        escaped.append((i, row))
            assert self.word_at - begin == size
        escaped.sort()
        for (i, row), more in zip(escaped, self.numbers(len(escaped)), strict=True):
            values[i][row] += more << shifts[i]
        return values


def decode(data: bytes, rows: list[int]) -> list[int]:
    """All columns, one behind the other."""
    reader = PlainReader(data)
    predictors = reader.small(len(rows), 3)
    having = [i for i, predictor in enumerate(predictors) if predictor in (2, 4, 5)]
    numbers = [unfolded(number) for number in reader.numbers(len(rows) + len(having))]
    heads = numbers[: len(rows)]
    factors = dict(zip(having, numbers[len(rows) :], strict=True))
    sisters = [i for i, predictor in enumerate(predictors) if predictor == 5]
    lags = dict(zip(sisters, reader.small(len(sisters), 4), strict=True))
    shift = max(rows).bit_length() + 1
    columns: list[list[int]] = []
    for i, folded in enumerate(reader.residuals(rows)):
        head, predictor = heads[i], predictors[i]
        column = folded if predictor == 3 else [unfolded(value & MASK) for value in folded]
        for _ in range({0: 1, 1: 2, 4: 2}.get(predictor, 0)):
            column = list(accumulate(column))
        column = [signed(head + value) for value in column]
        if predictor == 2:
            column = [
                value + (signed(row * factors[i]) >> shift) for row, value in enumerate(column)
            ]
        if predictor == 4:
            column = [value % factors[i] for value in column]
        if predictor == 5:
            sister = columns[i - lags[i]]
            column = [
                value + (signed(other * factors[i]) >> 16)
                for value, other in zip(column, sister, strict=True)
            ]
        columns.append([signed(value) for value in column])
    return [value for column in columns for value in column]
