"""Several processes: torchrun, FSDP2."""
