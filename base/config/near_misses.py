"""What others call the framework's keys and components: Lightning, Keras, Hugging Face, Hydra, jsonargparse and plain
PyTorch. Only imported when a key or a name is unknown.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Any

import yaml

from base.config.reader import SHORT_FLAGS, flow
from base.errors import Fault, Origin, did_you_mean

_KEYS = {
    "name": "experiment exp_name experiment_name run_name project_name",
    "seed": "random_seed manual_seed random_state seed_everything",
    "device": "accelerator devices gpu gpus gpu_id gpu_ids cuda use_cuda use_gpu no_cuda",
    "extends": "defaults base _base_ inherit",
    "data": "dataset datasets datamodule",
    "data.train": "train_data train_dataset trainset training_data train_dataloader train_loader",
    "data.valid": "val_data val_dataset val_split valid_split validation_split validation_data validation val_loader",
    "data.test": "test_data test_dataset test_loader",
    "data.transform": "transforms augmentation augmentations preprocessing",
    "data.loader": "dataloader data_loaders loaders",
    "data.loader.batch_size": "bs train_batch_size per_device_train_batch_size per_gpu_train_batch_size",
    "data.loader.eval_batch_size": "val_batch_size test_batch_size per_device_eval_batch_size",
    "data.loader.num_workers": "workers n_workers dataloader_num_workers",
    "data.loader.in_memory": "cache cache_in_memory",
    "model": "network net architecture backbone",
    "loss": "criterion loss_fn loss_function losses objective",
    "metrics": "metric",
    "optimizer": "optim optimiser optimizers",
    "lr_scheduler": "scheduler schedule lr_schedule learning_rate_scheduler schedulers",
    "lr_scheduler.type": "lr_scheduler_type",
    "callbacks": "callback hooks",
    "optimizer.args.lr": "lr learning_rate base_lr",
    "optimizer.args.weight_decay": "weight_decay wd l2",
    "optimizer.args.momentum": "momentum",
    "loss.args.label_smoothing": "label_smoothing label_smoothing_factor",
    "model.args.num_classes": "num_classes n_classes",
    "trainer": "training train trainer_args fit",
    "trainer.epochs": "epoch max_epochs n_epochs num_epochs nb_epochs num_train_epochs total_epochs",
    "trainer.steps_per_epoch": "limit_train_batches iters_per_epoch",
    "trainer.monitor": "metric_for_best_model monitor_metric",
    "trainer.early_stop": "patience early_stopping early_stopping_patience",
    "trainer.save_dir": "output_dir out_dir save_path log_dir logging_dir default_root_dir checkpoint_dir ckpt_dir",
    "trainer.save_period": "save_freq save_every_n_epochs checkpoint_every every_n_epochs",
    "trainer.save_every.steps": "save_steps",
    "trainer.keep": "save_total_limit save_top_k max_checkpoints",
    "trainer.log_every": "log_every_n_steps logging_steps log_interval print_freq log_freq log_step",
    "trainer.validate_every.epochs": "check_val_every_n_epoch val_every val_freq validation_freq eval_every val_period",
    "trainer.validate_every.steps": "val_check_interval eval_steps",
    "trainer.accumulate": "accumulate_grad_batches gradient_accumulation_steps grad_accum accumulation_steps",
    "trainer.clip.norm": "gradient_clip_val max_grad_norm grad_clip clip_grad clip_grad_norm clipnorm gradient_clip",
    "trainer.clip.value": "clipvalue clip_grad_value",
    "trainer.precision": "fp16 bf16 amp use_amp mixed_precision",
    "trainer.ema.decay": "ema_decay",
    "trainer.compile": "torch_compile",
    "trainer.verbosity": "enable_progress_bar progress_bar verbose",
    "trainer.tensorboard": "logger report_to",
    "trainer.test_at_end": "do_test",
    "trainer.non_finite": "detect_anomaly terminate_on_nan",
    "type": "_target_ class_path target class",
    "args": "init_args params kwargs arguments parameters hparams config options",
}
OURS = {theirs: ours for ours, names in _KEYS.items() for theirs in names.split()}
"""The path of a key by what others call it."""
ADVICE = {
    "resume": "resume with -r PATH on the command line",
    "resume_from": "resume with -r PATH on the command line",
    "resume_from_checkpoint": "resume with -r PATH on the command line",
    "ckpt_path": "resume with -r PATH on the command line; init_from takes weights alone",
    "pretrained": "init_from takes the weights of a run or file",
    "fast_dev_run": "use --check on the command line",
    "num_sanity_val_steps": "remove it: one validation batch is always tried first",
    "deterministic": "remove it: the same seed gives the same run",
    "evaluation_strategy": "remove it: every epoch is validated; see trainer.validate_every",
    "eval_strategy": "remove it: every epoch is validated; see trainer.validate_every",
    "save_strategy": "remove it: every epoch is saved; see trainer.save_period and trainer.save_every",
    "hydra": "remove it: runs are written below trainer.save_dir",
    "strategy": "remove it: one process trains",
    "num_nodes": "remove it: one process trains",
    "max_steps": "set trainer.steps_per_epoch and trainer.epochs",
    **dict.fromkeys(
        ("warmup", "warmup_steps", "warmup_epochs", "warmup_ratio", "num_warmup_steps"),
        "make lr_scheduler a list that begins with LinearLR and its steps",
    ),
    **dict.fromkeys(("_partial_", "_recursive_", "_convert_", "_args_"), "remove it: it is Hydra's"),
}
"""What to do about keys of others that no key stands for."""
_TYPES = {
    "LOSSES": {
        "CrossEntropyLoss": "ce celoss cross_entropy crossentropy categorical_crossentropy "
        "sparse_categorical_crossentropy xent",
        "BCEWithLogitsLoss": "bce binary_crossentropy binary_cross_entropy bce_loss",
        "MSELoss": "mse l2 mean_squared_error",
        "L1Loss": "mae l1",
        "NLLLoss": "nll",
    },
    "METRICS": {"accuracy": "acc", "f1": "f1_score", "top_k_accuracy": "top5 top_5 top_k topk acc5"},
    "SCHEDULERS": {
        "CosineAnnealingLR": "cosine cosine_annealing cos",
        "StepLR": "step steplr",
        "MultiStepLR": "multistep multi_step",
        "ReduceLROnPlateau": "plateau reduce_on_plateau",
        "OneCycleLR": "onecycle one_cycle 1cycle",
        "LinearLR": "linear warmup",
        "ExponentialLR": "exponential exp",
    },
}
_SHORT = {s: {n: ours for ours, names in t.items() for n in names.split()} for s, t in _TYPES.items()}
_CHAINS = ("SequentialLR", "ChainedScheduler")


def meant(name: str, known: Collection[str], symbol: str) -> str:
    """A hint for an unknown `type`: a Python path, a call, a usual short name; empty if it is none of these. What it
    tells to write is one of the `known` names.
    """
    if name.rpartition(".")[2] in _CHAINS:
        return "write a list of schedules, each but the last with steps, its length"
    called, args = name.strip(), ""
    if called.endswith(")"):
        called, args = _call(called)
    word = called.rpartition(".")[2]
    short = _SHORT.get(symbol, {}).get(word.lower(), "")
    word = word if word in known else short
    if word not in known or not word:
        return ""
    if args:
        return f"write {{type: {word}, args: {args}}}"
    return f"write {word}" if "." in name or "(" in name else f"did you mean {word!r}?"


def _call(text: str) -> tuple[str, str]:
    """`("Adam", "{lr: 0.001}")` of `Adam(lr=0.001)`; no arguments if they are not all literals by name."""
    try:
        tree = ast.parse(text, mode="eval").body
        if not isinstance(tree, ast.Call):
            return "", ""
        args: dict[str, Any] = {str(k.arg): ast.literal_eval(k.value) for k in tree.keywords}
        simple = not tree.args and "None" not in args
        return ast.unparse(tree.func), flow(args) if args and simple else ""
    except (SyntaxError, ValueError, yaml.YAMLError):
        return "", ""


def no_such_flag(word: str, known: Collection[str]) -> Fault:
    """The fault of a flag on the command line that is none of the `known` ones."""
    flag, equals, value = word.partition("=")
    name = flag.lstrip("-").replace("_", "-")
    short = next((short for short, key in SHORT_FLAGS.items() if key == OURS.get(name.replace("-", "_"))), "")
    if "." in flag:
        hint = f"write {name.replace('-', '_')}={value or '...'}"
    elif f"--{name}" in known:
        hint = f"write --{name}{equals}{value}"
    elif short in known:
        hint = f"write {short}{equals}{value}"
    else:
        hint = did_you_mean(f"--{name}", known) or "keys are written key.path=value; --help lists the flags"
    return Fault(Origin(f"command line: {flag}"), "", "no such flag", hint=hint)
