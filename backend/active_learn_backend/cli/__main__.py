"""`python -m active_learn_backend.cli` is `active-learn`."""

from . import main

main()
