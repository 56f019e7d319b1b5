"""How fast the project is, as ratios to a loop written by hand, measured in one run: python -m benchmarks"""
