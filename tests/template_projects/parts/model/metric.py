def mae(output, target):
    return (output - target).abs().mean().item()
