"""Coverage-guided: python fuzz_runlength.py corpus -max_total_time=60"""

import sys

import atheris

with atheris.instrument_imports(include=["runlength"]):
    from test_runlength_properties import holdsOn


def main():
    atheris.Setup(sys.argv, holdsOn)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
