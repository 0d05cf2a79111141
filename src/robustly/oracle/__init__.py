"""The one counted door to a model, and the ledger of what was asked and found."""

from robustly.oracle.answers import Answer, Hits, Jacobian, Limits, Proposals
from robustly.oracle.ensemble import Ensemble, door
from robustly.oracle.ledger import Ledger
from robustly.oracle.manner import Manner, Noise
from robustly.oracle.model import Access, Model
from robustly.oracle.oracle import Oracle
from robustly.oracle.remote import Remote, Replies
from robustly.oracle.smoothing import Smoothing, smoothing_of
