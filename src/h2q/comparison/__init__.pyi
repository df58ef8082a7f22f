from .quantizers import METHODS as METHODS
from .quantizers import Method as Method
from .quantizers import QuantizerScore as QuantizerScore
from .quantizers import compare_quantizers as compare_quantizers
