"""What a kernel sees of Cython where it runs interpreted: that it is not compiled.

A kernel begins with ``import cython``, which means something to the compiler alone, and takes this where that is not
installed.
"""

compiled = False
