"""Steps, starts, loops and combinators: what attacks are composed of."""

from robustly.steps.blur import ti
from robustly.steps.combinators import in_turn, per_target, restarts
from robustly.steps.expectation import averaged, expected
from robustly.steps.input_views import admix, di, si, ssa
from robustly.steps.patches import patches
from robustly.steps.pool import Pool
from robustly.steps.radius import least_radius
from robustly.steps.starts import clean, uniform
from robustly.steps.transforms import by_radius, chain, momentum, steepest
from robustly.steps.types import Attack, Case, Start, Step, Transform
from robustly.steps.variance import variance
from robustly.steps.walk import ascend, looking_ahead, projected
