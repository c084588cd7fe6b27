"""FLOPs of inputs of many lengths, from counting few of them.

A batch of texts is as long as its longest one: a training sees a hundred lengths, and counting one may take a second.
"""

import math
from collections.abc import Callable, Hashable
from fractions import Fraction
from typing import TypeVar

Form = TypeVar("Form", bound=Hashable)
COUNTED = 4  # three fix a polynomial of second degree, the fourth tells whether it is one


def by_length(lengths: dict[Form, int], count: Callable[[Form], float | None]) -> dict[Form, float | None]:
    """Return count(form) of every form, of inputs that differ in their length alone.

    lengths: of each form. The layers of a transformer cost so much a token and, for attention, a pair of tokens: where
    four lengths agree with that, the others follow from them. Else, and of four or fewer forms, each is counted.
    """
    forms = sorted(lengths, key=lambda form: lengths[form])
    if len(forms) <= COUNTED:
        return {form: count(form) for form in forms}
    known = {form: count(form) for form in _spread(forms)}
    if None in known.values():
        return dict.fromkeys(forms)  # what cannot be counted at one length cannot be at another
    points = [(lengths[form], flops) for form, flops in known.items() if flops is not None]
    fixing = [points[0], points[1], points[3]]
    if not math.isclose(_at(fixing, points[2][0]), points[2][1], rel_tol=1e-9):
        return {form: known[form] if form in known else count(form) for form in forms}
    return {form: _at(fixing, lengths[form]) for form in forms}


def _spread(forms: list[Form]) -> list[Form]:
    """The four that are counted: the first, the last and two evenly between."""
    last = len(forms) - 1
    return [forms[i] for i in (0, last // 3, 2 * last // 3, last)]


def _at(points: list[tuple[int, float]], x: int) -> float:
    """The value at x of the polynomial through the points, in whole numbers until the end."""
    total = Fraction(0)
    for i, (a, value) in enumerate(points):
        others = [b for j, (b, _) in enumerate(points) if j != i]
        total += Fraction(value) * math.prod(Fraction(x - b, a - b) for b in others)
    return float(total)
