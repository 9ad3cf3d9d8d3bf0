"""Whether torch can use the device that was found: the driver answers without it."""

import os

from autopeft.environment import cuda_begun
from autopeft.errors import DeviceError
from autopeft.values.profiles import Device


def claim(device: Device) -> None:
    """Has CUDA give this process the device where it gives one alone, and would choose it by itself.

    It reads its environment once, so this comes before anything that asks torch for a GPU.
    """
    if device.exclusive and device.uuid is not None and not cuda_begun():
        os.environ["CUDA_VISIBLE_DEVICES"] = device.uuid


def check_usable(device: Device) -> None:
    """Claims a GPU of this machine, and refuses one that torch cannot use: what is planned for it would run on the CPU.

    Raises:
        DeviceError: torch is built without CUDA, or for a later one than the driver has.
    """
    if device.kind != "cuda":
        return
    claim(device)
    import torch

    if torch.cuda.is_available():
        return
    built = torch.version.cuda
    why = "it is built without CUDA" if built is None else f"the driver does not start the CUDA {built} that it is for"
    remedy = "Install a torch with CUDA" if built is None else "Update the driver, or install a torch for an older CUDA"
    raise DeviceError(
        f"{device.name} is here, but torch {torch.__version__} cannot use it: {why}.\n"
        f"{remedy}; or hide the GPU with CUDA_VISIBLE_DEVICES= to use the processor."
    )
