"""`python -m nearsight`, which is what torchrun starts: `torchrun --nproc-per-node=2 -m nearsight train …`."""

from nearsight.cli.main import main

main()
