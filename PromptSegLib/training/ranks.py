"""Several processes, each with a GPU of its own, that train one network: what they have to agree upon."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn


def rank() -> int:
    """This process's number; 0 is the one that logs, evaluates and exports."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def ranks() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def wait_for_all() -> None:
    """Go on once every process has come here."""
    if ranks() > 1:
        distributed.barrier()


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Give every process the mean of all processes' gradients, in place."""
    if ranks() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(together)
    together /= ranks()
    start = 0
    for gradient in gradients:
        gradient.copy_(together[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def run_ranks(count: int, address: str, work: Callable[[int], None]) -> None:
    """Call work(rank) in `count` new processes that know of each other, and return once all are done.

    address: where they meet, such as file:///a/file/that/is/not/there/yet. work: can be pickled.
    """
    spawn(_run_rank, args=(count, address, work), nprocs=count)  # type: ignore[no-untyped-call]


def _run_rank(number: int, count: int, address: str, work: Callable[[int], None]) -> None:
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, init_method=address, rank=number, world_size=count)
    try:
        work(number)
    finally:
        distributed.destroy_process_group()
