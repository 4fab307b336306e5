"""A second column decoder that follows docs/batch.md word by word: slow, plain, no arrays.

It shares nothing with the product but the table of code word lengths.
"""

from itertools import accumulate

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

    def small(self, count: int) -> list[int]:
        if not count:
            return []
        coding = self.field(5)
        if coding < 21:
            return [self.symbol(coding) for _ in range(count)]
        return [self.field(coding - 21) for _ in range(count)]

    def numbers(self, count: int) -> list[int]:
        lengths = self.small(count)
        return [1 << b - 1 | self.field(b - 1) if b else 0 for b in lengths]

    def residuals(self, counts: list[int]) -> list[list[int]]:
        codings = self.small(len(counts))
        pools = sorted({coding for coding in codings if coding >= 22})
        columns = list(zip(codings, counts, strict=True))
        if pools:
            filled = self.numbers(len(pools))
            columns += list(
                zip(self.small(2 * len(pools)), [n for n in filled for _ in "gs"], strict=True)
            )
        dense = [index for index, (coding, _) in enumerate(columns) if coding < 22]
        shifts = dict(zip(dense, self.small(len(dense)), strict=True))
        dense.sort(key=lambda index: columns[index][0])
        values = {i: [self.field(shifts[i]) for _ in range(columns[i][1])] for i in dense}
        escaped = []
        for i in dense:
            if columns[i][0] < 21:
                for row in range(columns[i][1]):
                    symbol = self.symbol(columns[i][0])
                    values[i][row] += symbol << shifts[i]
                    if symbol == 31:
                        escaped.append((i, row))
        for (i, row), more in zip(escaped, self.numbers(len(escaped)), strict=True):
            values[i][row] += more << shifts[i]
        for number, pool in enumerate(pools):
            gaps, sizes = (values[len(counts) + 2 * number + part] for part in (0, 1))
            laid: list[int] = []
            for gap, size in zip(gaps, sizes, strict=True):
                laid += [0] * gap + [size + 1]
            members = [i for i in range(len(counts)) if codings[i] == pool]
            laid += [0] * (sum(counts[i] for i in members) - len(laid))
            for i in members:
                values[i], laid = laid[: counts[i]], laid[counts[i] :]
        return [[unfolded(value & MASK) for value in values[i]] for i in range(len(counts))]


def decode(data: bytes, rows: list[int]) -> list[int]:
    """All columns, one behind the other."""
    reader = PlainReader(data)
    predictors = reader.small(len(rows))
    heads = [unfolded(number) for number in reader.numbers(len(rows))]
    having = [i for i, predictor in enumerate(predictors) if predictor in (3, 5, 6)]
    factors = dict(zip(having, map(unfolded, reader.numbers(len(having))), strict=True))
    sisters = [i for i, predictor in enumerate(predictors) if predictor == 6]
    lags = dict(zip(sisters, reader.small(len(sisters)), strict=True))
    counts = [n - (p < 4) for n, p in zip(rows, predictors, strict=True)]
    columns: list[list[int]] = []
    for i, residuals in enumerate(reader.residuals(counts)):
        head, predictor = heads[i], predictors[i]
        if predictor < 4:
            differences = residuals
            for _ in range({0: 0, 1: 1, 2: 2, 3: 1}[predictor]):
                differences = list(accumulate(differences))
            column = [signed(value) for value in accumulate([head, *differences])]
            if predictor == 3:
                column = [value % factors[i] for value in column]
        else:
            base = [0] * len(residuals)
            if predictor == 5:
                shift = rows[i].bit_length() + 1
                base = [signed(row * factors[i]) >> shift for row in range(rows[i])]
            if predictor == 6:
                sister = columns[i - lags[i]]
                base = [signed(value * factors[i]) >> 16 for value in sister]
            column = [signed(head + b + r) for b, r in zip(base, residuals, strict=True)]
        columns.append(column)
    return [value for column in columns for value in column]
