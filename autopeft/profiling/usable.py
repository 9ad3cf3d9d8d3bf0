"""Whether torch can use the device that was found: the driver answers without it."""

from autopeft.errors import DeviceError
from autopeft.values.profiles import Device


def check_usable(device: Device) -> None:
    """Refuses a GPU of this machine that torch cannot use: what is planned for it would run on the processor.

    Raises:
        DeviceError: torch is built without CUDA, or for a later one than the driver has.
    """
    if device.kind != "cuda":
        return
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
