"""What an attacker may change: perturbation sets as pure geometry, one file a family."""

from robustly.threats.base import Convex, Domain, Finite, PerturbationSet, Smooth, Threat
from robustly.threats.colour import Colour
from robustly.threats.corruption import Corrupt
from robustly.threats.edits import Edits
from robustly.threats.features import Features
from robustly.threats.flow import Flow
from robustly.threats.grid import Grid
from robustly.threats.intersection import Both
from robustly.threats.l0 import L0
from robustly.threats.l1 import L1
from robustly.threats.l2 import L2
from robustly.threats.linf import Linf
from robustly.threats.parse import as_threat, eps_of, parse_threat, with_eps
from robustly.threats.patch import Patch
from robustly.threats.spatial import Rotate, Shift
from robustly.threats.ssim import Ssim
