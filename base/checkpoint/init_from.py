"""Initial weights from another run or file (`init_from`): takes what fits and names what does not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from base.checkpoint.state import load_weights, weights_of
from base.errors import CheckpointError

TORCHVISION = "torchvision:"
"""Before the name of weights, such as ResNet18_Weights.DEFAULT."""
log = logging.getLogger(__name__)


def take_weights(models: Mapping[str, nn.Module], source: str, part: str = "") -> None:
    """Loads the tensors of `source` that the models have by the same name and shape, and says which it did not.

    `source` is a run (its best checkpoint, else its last), the folder of the runs of a name (the newest), a checkpoint,
    a .safetensors file, or `torchvision:` and the name of weights, which are downloaded. With `part`, a name,
    there is one model: if the source holds several models, the one of that name is meant. CheckpointError if nothing
    fits, or the source cannot be read.
    """
    weights = read_weights(source)
    if part:
        models = {"model": models[part]}
        named = {n.removeprefix(f"{part}."): t for n, t in weights.items() if n.startswith(f"{part}.")}
        weights = named or weights
    own = weights_of(models)
    taken = {name: tensor for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape}
    other = [
        f"{n} {tuple(t.shape)} -> {tuple(own[n].shape)}" for n, t in weights.items() if n in own and n not in taken
    ]
    unknown, missing = [n for n in weights if n not in own], [n for n in own if n not in weights]
    if not taken:
        raise CheckpointError(f"{source}: none of its {len(weights)} tensors fits the model by name and shape")
    load_weights(models, taken, strict=False)
    log.info("weights of %s: %d of the model's %d tensors taken", source, len(taken), len(own))
    for what, names in (("of another shape, left", other), ("not in the model", unknown), ("not in it", missing)):
        if names:
            log.info("  %s: %s", what, ", ".join(names))


def read_weights(source: str) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from base.checkpoint.store import CheckpointStore
    from base.runs.run_dir import CONFIG, newest_run, resolve_resume

    if Path(source).suffix == ".safetensors":
        try:
            return load_file(source)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{source}: not a safetensors file: {error}") from None
    if source.startswith(TORCHVISION):
        return _downloaded(source.removeprefix(TORCHVISION))
    path = Path(source)
    newest = newest_run(path.parent, path.name) if not (path / CONFIG).exists() else None
    folder, name = resolve_resume(newest.path if newest else source)
    store = CheckpointStore(folder.checkpoints)
    return store.load(name or ("best" if store.best() else "last")).weights()


def _downloaded(name: str) -> Mapping[str, Tensor]:
    """Into the user's cache, by hash and without unpickling: torchvision's own `weights=` does neither."""
    from torchvision.models import get_weight

    try:
        weights: Mapping[str, Tensor] = get_weight(name).get_state_dict(
            progress=False, weights_only=True, check_hash=True
        )
    except (ValueError, AttributeError, KeyError):
        expected = "expected a name such as ResNet18_Weights.DEFAULT"
        raise CheckpointError(f"{TORCHVISION}{name}: torchvision has no such weights; {expected}") from None
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{TORCHVISION}{name}: cannot be downloaded: {error}") from None
    return weights
