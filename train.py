"""python train.py -c configs/fashion_mnist.yaml"""

import sys

from base.cli import train

if __name__ == "__main__":
    sys.exit(train(sys.argv[1:]))
