"""Steps, starts, loops and combinators: what attacks are composed of."""

from robustly.steps.combinators import in_turn, per_target, restarts
from robustly.steps.expectation import averaged, expected
from robustly.steps.radius import least_radius
from robustly.steps.starts import clean, uniform
from robustly.steps.transforms import by_radius, chain, momentum, steepest
from robustly.steps.types import Attack, Case, Start, Step, Transform
from robustly.steps.walk import ascend, looking_ahead, projected
