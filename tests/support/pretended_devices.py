"""Devices that are not there: tensors on the CPU that say another device, and may not meet there.

Every call of torch from Python passes here, `tensor.device` and `tensor.to` among them (which no dispatch mode sees).
Tensors are what they were, and so are the kernels: what differs from one device is where tensors are said to be.
"""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")
NUMPY = ("numpy", "__array__")
INDEXING = (Tensor.__getitem__, Tensor.__setitem__)
ASKING = (Tensor.item, Tensor.tolist, Tensor.__bool__, Tensor.__float__, Tensor.__int__, torch.nonzero)


class PretendedDevices(TorchFunctionMode):
    """As long as this lasts, these devices are there; tensors of two devices in one call raise, as on CUDA.

    `cpu:1` is another device than the CPU of the same type, for code that asks for the type to choose its kernels.
    Excepted are, as on CUDA, numbers (tensors without dimensions) and indices on the CPU, and copies by `to`.
    """

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.devices = [torch.device(name) for name in names]
        self.seen: set[torch.device] = set()
        """Where something was computed."""
        self.waits: Counter[str] = Counter()
        """How often the host asked for numbers, and so waited for the device: by what asked."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:
            return where(args[0])
        if func in ASKING and where(args[0]) != CPU:
            self.waits[func.__name__] += 1
        if func in INDEXING and any(masks(args[1])):
            self.waits["mask"] += 1
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            to = {Tensor.cpu: ("cpu",), Tensor.cuda: ("cuda",)}.get(func, args[1:])
            return self.moved(args[0], *to, **kwargs)
        if func == Tensor.data.__set__:
            func(*args)
            return said(args[0], where(args[1]))
        name = getattr(func, "__name__", "")
        here = self.together(name, operands(func, args, kwargs))
        if name in NUMPY and here != CPU:
            raise TypeError(f"can't convert {here} device type tensor to numpy")
        asked = kwargs.get("device")
        if asked is not None and (device := named(asked)) in self.devices:
            kwargs["device"], here = CPU, device
        elif asked is not None:
            here = device
        result = func(*args, **kwargs)
        if here in self.devices:
            self.seen.add(here)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and not tensor.is_meta:
                if any(tensor is given for given in args) and where(tensor) != here:
                    raise RuntimeError(f"`{name}` writes {here} into a tensor on {where(tensor)}")
                said(tensor, here)
        return result

    def moved(self, tensor: Tensor, *args, **kwargs) -> Tensor:
        """`tensor.to(...)`: a copy, where the device is another."""
        target, rest = kwargs.pop("device", None), []
        for arg in args:
            if isinstance(arg, str | torch.device):
                target = arg
            elif isinstance(arg, Tensor):
                target, rest = where(arg), [arg.dtype]
            else:
                rest.append(arg)
        target = where(tensor) if target is None else named(target)
        if target not in (*self.devices, CPU):
            return tensor.to(target, *rest, **kwargs)
        result = tensor.to(*rest, **kwargs) if rest or kwargs else tensor
        if target == CPU != where(tensor):
            self.waits["to the CPU"] += 1
        if target == where(tensor):
            return result if result is tensor else said(result, target)
        return said(result.clone() if result is tensor else result, target)

    def together(self, name: str, tensors: Iterator[Tensor]) -> torch.device:
        """The one device that a call's tensors are on."""
        found = {where(tensor) for tensor in tensors if tensor.dim() or where(tensor) != CPU}
        if len(found) > 1:
            raise RuntimeError(f"`{name}` mixes devices: {', '.join(sorted(map(str, found)))}")
        return found.pop() if found else CPU


def masks(index) -> Iterator[bool]:
    """Whether the parts of an index are masks on a device, whose numbers decide a shape."""
    for each in tree_leaves(index):
        yield isinstance(each, Tensor) and each.dtype is torch.bool and each.dim() > 0 and where(each) != CPU


def operands(func, args, kwargs) -> Iterator[Tensor]:
    """The tensors that must be on one device."""
    for position, arg in enumerate((*args, *kwargs.values())):
        for tensor in tree_leaves(arg):
            if not isinstance(tensor, Tensor) or tensor.is_meta:
                continue
            if position == 1 and func in INDEXING and where(tensor) == CPU:
                continue
            yield tensor


def where(tensor: Tensor) -> torch.device:
    """The device that a tensor says it is on."""
    with torch._C.DisableTorchFunction():
        return getattr(tensor, "pretended", None) or tensor.device


def said(tensor: Tensor, device: torch.device) -> Tensor:
    """The same tensor, saying that it is on a device."""
    tensor.pretended = device
    return tensor


def named(device) -> torch.device:
    """A device by its full name."""
    found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    return torch.device("cuda", 0) if found == torch.device("cuda") else found
