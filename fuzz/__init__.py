"""Fuzzing: everything that reads a stranger's bytes, each with the promises that no bytes may break.

- ``targets``   a module for each decoder: ``check(data)`` raises where a promise is broken
- ``records``   how the bytes of an input become steps
- ``vectors``   what Go peers sent, as material for seeds
- ``corpus``    writes the seeds as files
- ``run``       atheris on one target, or on all of them in turn
- ``report``    the table of a run, from its logs
- ``failures``  what is caught and logged, raised
- ``crashes``   inputs that broke a promise once, made small; tests/test_fuzz_targets.py replays them

Not part of the package.  docs/fuzz-your-layer.rst is the way in.
"""
