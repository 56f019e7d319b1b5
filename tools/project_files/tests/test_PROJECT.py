"""python -m pytest tests/test_PROJECT.py"""

from pathlib import Path

from base import evaluate, fit

CONFIG = Path(__file__).parents[1] / "configs" / "PROJECT.yaml"


def test_it_learns(tmp_path: Path) -> None:
    run = fit(CONFIG, {"trainer.save_dir": str(tmp_path), "trainer.epochs": 5, "trainer.tensorboard": False})
    assert run.reason == "finished"
    assert evaluate(run.path)["accuracy"] > 0.8
