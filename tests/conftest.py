"""One thread: the tensors are so small that handing them to several costs many times what it saves."""

import torch

torch.set_num_threads(1)
