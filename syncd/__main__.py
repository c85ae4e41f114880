"""`python -m syncd` is `syncd`."""

from syncd.cli.main import main

main()
