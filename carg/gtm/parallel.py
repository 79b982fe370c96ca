"""One process or many: where this one runs, what it shares with the others, how weights are sharded (FSDP2).

`torchrun --nproc-per-node N -m carg finetune ...` sets the environment that `join_world` reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from carg.errors import ConfigError


class World(NamedTuple):
    """This process among `size` processes."""

    rank: int
    size: int
    device: torch.device

    def sum(self, values: Sequence[float]) -> list[float]:
        """The values summed over all processes, in double precision."""
        if self.size == 1:
            return list(values)
        whole = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(whole)
        return [float(value) for value in whole.tolist()]

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """The world that torchrun set up, left again at the end; alone where there is none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    place = pick_device(device)
    if size == 1:
        yield World(0, 1, place)
        return
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    # The first process may tokenise for long while the others wait; a process that dies is noticed by torchrun.
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=timedelta(hours=3))
    try:
        yield World(dist.get_rank(), size, place)
    finally:
        dist.destroy_process_group()


SMALL = 5_000_000
"""Parameters below which one CPU thread does: the products are too small to share, and threads that wait for each other
on a busy machine are many times slower (4,438 against 298 tokens/s beside other work on two cores)."""


def limit_threads(parameters: int, device: torch.device) -> None:
    """One thread for a small model on a CPU; else as many as torch takes."""
    if device.type == "cpu" and parameters < SMALL:
        torch.set_num_threads(1)


def has_kernel(device: torch.device, compute: torch.dtype) -> bool:
    """Whether one kernel serves a whole row of documents; layers are worth compiling then."""
    return device.type == "cuda" and compute in (torch.bfloat16, torch.float16)


def pick_device(wish: str) -> torch.device:
    """The device wished for; "auto" is the GPU where there is one. Raises ConfigError where it is not there."""
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(wish)
    except RuntimeError as fault:
        raise ConfigError(f"device {wish!r} is unknown", "use auto, cpu, cuda or cuda:N") from fault
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {wish!r}: there is no CUDA GPU here", "use auto or cpu")
    return place


def shard(learner: nn.Module, layers: Sequence[nn.Module], compute: torch.dtype, world: World) -> None:
    """Spread weights, gradients and optimizer over the processes: fp32 at rest, `compute` at work, summed in fp32."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(learner, mesh=mesh, mp_policy=policy)


def gather(tensor: Tensor) -> Tensor:
    """The whole of a tensor on the CPU; every process must ask for it together."""
    from torch.distributed.tensor import DTensor

    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().cpu()


def scatter_into(place: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor into a tensor that may be sharded; every process holds the same whole."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    with torch.no_grad():
        if isinstance(place, DTensor):
            whole = distribute_tensor(whole.to(place.device), place.device_mesh, place.placements)
        place.copy_(whole)
