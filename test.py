"""python test.py -r saved/fashion_mnist/20261120-164203"""

import sys

from base.cli import test

if __name__ == "__main__":
    sys.exit(test(sys.argv[1:]))
