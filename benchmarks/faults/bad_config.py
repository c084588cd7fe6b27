"""Values on the command line that cannot work."""

from pathlib import Path

from benchmarks.faults.bad import Bad, text
from benchmarks.faults.jobs import TWO

VIT = ["model@pretrain.model=timm", "pretrain.model.name=vit_tiny_patch16_224"]


def _own(function: str, *words: str) -> list[str]:
    return [f"method.score._target_=mine.{function}", "~method.score.never_learned", "method=forgetting", *words]


RECIPES = [
    Bad("a negative learning rate", ["pretrain.optimizer.lr=-0.1"], "pretrain.optimizer.lr"),
    Bad("a learning rate that is text", ["pretrain.optimizer.lr=fast"], "pretrain.optimizer.lr"),
    Bad("no learning rate", ["pretrain.optimizer.lr=null"], "pretrain.optimizer.lr"),
    Bad("a learning rate that is no number", ["pretrain.optimizer.lr=nan"], "pretrain.optimizer.lr"),
    Bad("an infinite learning rate", ["pretrain.optimizer.lr=inf"], "pretrain.optimizer.lr"),
    Bad("a list of learning rates", ["pretrain.optimizer.lr=[0.1,0.2]"], "pretrain.optimizer.lr"),
    Bad("the surrogate's rate negative", ["method=forgetting", "surrogate.optimizer.lr=-1"], "surrogate.optimizer.lr"),
    Bad("the transfer's rate negative", ["transfer.optimizer.lr=-1"], "transfer.optimizer.lr"),
    Bad("the transfer's rate text", ["transfer.optimizer.lr=1e"], "transfer.optimizer.lr"),
    Bad("negative weight decay", ["pretrain.optimizer.weight_decay=-1"], "pretrain.optimizer"),
    Bad("Nesterov without momentum", ["pretrain.optimizer.momentum=0"], "pretrain.optimizer"),
    Bad("an unknown optimiser", ["pretrain.optimizer._target_=torch.optim.SDG"], "pretrain.optimizer._target_"),
    Bad("no dotted path", ["pretrain.optimizer._target_=SGD"], "pretrain.optimizer._target_"),
    Bad("a constant unknown to it", ["+pretrain.optimizer.learning_rate=1"], "pretrain.optimizer.learning_rate"),
    Bad("an unknown schedule", ["pretrain.schedule._target_=dataprune.training.schedules.cosin"], "pretrain.schedule"),
    Bad("a constant unknown to the schedule", ["+pretrain.schedule.warmup=5"], "pretrain.schedule.warmup"),
    Bad("a schedule's constant that is text", ["+pretrain.schedule.end=low"], "pretrain.schedule"),
    Bad("no epochs", ["pretrain.epochs=0"], "pretrain.epochs"),
    Bad("neither epochs nor iterations", ["pretrain.epochs=null"], "pretrain.epochs"),
    Bad("epochs and iterations", ["pretrain.iterations=5"], "pretrain.epochs"),
    Bad("half an epoch", ["pretrain.epochs=1.5"], "epochs", hydra=True),
    Bad("a batch of none", ["pretrain.batch_size=0"], "pretrain.batch_size"),
    Bad("a batch that two processes cannot share", [*TWO, "pretrain.batch_size=101"], "batch_size"),
    Bad(
        "the transfer's batch likewise",
        ["transfer.processes=2", "run.accelerator=cpu", "transfer.batch_size=101"],
        "batch_size",
    ),
    Bad("smoothing above 1", ["pretrain.label_smoothing=2"], "pretrain.label_smoothing"),
    Bad("a negative norm to clip at", ["pretrain.clip_norm=-1"], "pretrain.clip_norm"),
    Bad("half precision on a CPU", ["pretrain.precision=float16", "run.accelerator=cpu"], "precision"),
    Bad("half precision for a transfer on a CPU", ["transfer.precision=float16", "run.accelerator=cpu"], "precision"),
    Bad("an unknown precision", ["pretrain.precision=int8"], "pretrain.precision"),
    Bad("crops of decoded images", ["pretrain.augment.random_resized_crop=[0.1,1]"], "random_resized_crop"),
    Bad(
        "crops of a transfer's decoded images", ["transfer.augment.random_resized_crop=[0.1,1]"], "random_resized_crop"
    ),
    Bad("a crop of one share", ["pretrain.augment.random_resized_crop=[0.1]"], "random_resized_crop"),
    Bad("padding wider than the image", ["pretrain.augment.crop_padding=9"], "crop_padding"),
    Bad("a resolution ramp in memory", ["+pretrain.resolution={low:4,high:8,start:0,end:1}"], "pretrain.resolution"),
    Bad("a ramp without an end", ["+pretrain.resolution={low:4,high:8}"], "pretrain.resolution"),
    Bad("an attack beyond all pixels", ["pretrain.adversarial.epsilon=2"], "pretrain.adversarial.epsilon"),
    Bad("an attack of no steps", ["pretrain.adversarial.steps=0"], "pretrain.adversarial.steps"),
    Bad("a negative seed", ["seed=-1"], "seed"),
    Bad("an unknown head", ["transfer.head=old"], "transfer.head"),
    Bad(
        "a head of ten classes for sixty-two",
        ["source=digits", "target=glyphs", "transfer.head=reuse", "target.reader.per_class=6"],
        "transfer.head",
    ),
]
NETWORKS = [
    Bad("images too small for a ViT", VIT, "pretrain.model or source.size"),
    Bad("no such timm model", [*VIT, "pretrain.model.name=resnet1800"], "pretrain.model.name or model.name"),
    Bad("no such normalisation", ["pretrain.model.norm=layer"], "model.norm"),
    Bad("a network of width 0", ["pretrain.model.width=0"], "pretrain.model"),
    Bad("a network of negative width", ["pretrain.model.width=-4"], "pretrain.model"),
    Bad("a network too deep for its images", ["pretrain.model.depth=6"], "pretrain.model or source.size"),
    Bad("a constant unknown to the network", ["+pretrain.model.heads=4"], "pretrain.model.heads"),
    Bad("no network", ["pretrain.model=null"], "pretrain.model"),
    Bad("torchvision's networks on grey images",
        ["model@pretrain.model=torchvision"], "channels"),
]  # fmt: skip
METHODS = [
    Bad("an unknown method", ["method=nope"], "method/nope", hydra=True),
    Bad("a negative gamma", ["method=d2", "method.select.gamma=-1"], "gamma"),
    Bad("no neighbours", ["method=d2", "method.select.k=0"], "method.select.k"),
    Bad("no strata", ["method=ccs", "method.select.strata=0"], "method.select.strata"),
    Bad("a first pick that is no example", ["method=k_center", "method.select.first=100000"], "method.select.first"),
    Bad("a window longer than the training", ["method=dynamic_uncertainty", "method.score.window=20"], "score.window"),
    Bad("a window of text", ["method=dynamic_uncertainty", "method.score.window=long"], "method.score.window"),
    Bad("more runs than none", ["method=el2n_runs", "method.runs=0"], "method.runs"),
    Bad("a cut of everything", ["method=ccs", "method.cut.fraction=1.5"], "method.cut.fraction"),
    Bad("a ratio that the cut leaves too few for",
        ["method=ccs", "method.cut.fraction=0.9", "prune_ratio=0.4"], "method.cut or prune_ratio"),
    Bad("an unknown level", ["method.level=pixel"], "method.level"),
    Bad("an unknown quota", ["method=forgetting", "method.quota=fair"], "method.quota"),
    Bad("quotas by recall without a validation split", ["method=forgetting", "method.quota=drop"], "method.quota"),
    Bad("nesting and quotas", ["method=k_center", "method.quota=equal"], "method.nested_from"),
    Bad("a scored method without its score", ["method=forgetting", "method.score=null"], "method.score"),
    Bad("a method without a selector", ["method.select=null"], "method.select"),
    Bad("an unknown selector", ["method.select._target_=dataprune.selectors.ranked.best"], "method.select._target_"),
    Bad("a score of a module that is not there", ["method=forgetting", "method.score._target_=x.y"], "method.score"),
    Bad("a constant unknown to the score", ["method=forgetting", "+method.score.never=1"], "method.score.never"),
    Bad("an array that nobody makes", ["method=forgetting", "method.arrays={ties:moon}"], "method.select.ties or moon"),
    Bad("dynamics that nobody records", ["method=forgetting", "surrogate.record.forward=none"], "record.forward"),
    Bad("whole softmaxes that nobody records", ["method=tdds", "method.score.window=2"], "record.probabilities"),
    Bad("a class that the source has not", ["method=handpicked", "method.select.classes=[99]"], "select.classes"),
    Bad("no class at all", ["method=handpicked", "method.select.classes=[]"], "method.select.classes"),
    Bad("classes for no target", ["method=label_mapping", "target=none"], "target"),
    Bad("from scratch for no target", ["method=scratch", "target=none"], "target"),
    Bad("a score with an error in its file", _own("wish"), "mine", text("mine.py", "def wish(p_true)\n")),
    Bad("a score that its file has not", _own("wish"), "mine", text("mine.py", "def other(p_true): return p_true\n")),
    Bad("a score that wants the moon", _own("wish"), "moon", text("mine.py", "def wish(moon): return moon\n")),
]  # fmt: skip
JOBS = [
    Bad("a negative ratio", ["prune_ratio=-0.1"], "prune_ratio"),
    Bad("a ratio of everything", ["prune_ratio=1"], "prune_ratio"),
    Bad("a ratio in per cent", ["prune_ratio=90"], "prune_ratio"),
    Bad("a ratio that is no number", ["prune_ratio=nan"], "prune_ratio"),
    Bad("a ratio that is text", ["prune_ratio=half"], "'half'", hydra=True),
    Bad("fewer examples than classes", ["prune_ratio=0.99"], "prune_ratio"),
    Bad("an unknown key", ["pretrain.epoch=3"], "epoch", hydra=True),
    Bad("an unknown key, added", ["+pretrain.epoch=3"], "epoch", hydra=True),
    Bad("an unknown key at the top", ["+budget=3"], "budget", hydra=True),
    Bad("an unknown group", ["sauce=glyphs"], "sauce", hydra=True),
    Bad("an unknown data set", ["source=mnist"], "source/mnist", hydra=True),
    Bad("an unknown experiment", ["+experiment=best"], "experiment/best", hydra=True),
    Bad("a launcher that is not installed", ["hydra/launcher=ray", "-m"], "ray", hydra=True),
    Bad("a word without a value", ["prune_ratio"], "prune_ratio", hydra=True),
    Bad("a recipe of a transfer beside no target", ["target=none", "train@transfer=linear_probe"], "transfer"),
    Bad("a value of a transfer beside no target", ["target=none", "transfer.epochs=3"], "transfer", hydra=True),
    Bad("a list of targets", ["target=[digits,glyphs]"], "target", hydra=True),
    Bad("another target of the same name",
        ["method=label_mapping", "+target@others.digits=digits"], "others"),
    Bad("a split that the target has not", ["evaluate.split=validation"], "evaluate.split"),
    Bad("an unknown half", ["evaluate.half=third"], "evaluate.half"),
    Bad("a signal that nobody makes", ["method=entropy", "signals.arrays=[thoughts]"], "signals.arrays"),
    Bad("signals of a split that is not there", ["method=entropy", "signals.split=validation"], "signals.split"),
    Bad("a checkpoint for a pruned model", ["pretrain.checkpoint=w.pt"], "pretrain.checkpoint", text("w.pt")),
    Bad("a checkpoint for a transfer", ["transfer.checkpoint=w.pt"], "transfer.checkpoint", text("w.pt")),
    Bad("dynamics of a pretraining", ["pretrain.dynamics=w"], "pretrain.dynamics", text("w")),
    Bad("an influence store without its size", ["method=random_halves", "run.influence.store=s"], "run.influence"),
    Bad("an influence store for a numberless model",
        ["run.influence.store=s", "run.influence.models=4"], "method.select.model or run.influence"),
    Bad("a store that is a file", ["run.store=afile"], "run.store", text("afile")),
    Bad("a store below a file", ["run.store=afile/store"], "run.store", text("afile")),
    Bad("no devices", ["run.devices=0"], "run.devices"),
    Bad("no threads", ["run.threads=0"], "run.threads"),
    Bad("a GPU that is not there", ["run.accelerator=gpu"], "run.accelerator"),
    Bad("an unknown logger", ["run.logger=paper"], "run.logger"),
    Bad("devices of text", ["run.devices=two"], "two", hydra=True),
]  # fmt: skip


def there_is_a_gpu() -> bool:
    """Whether the cases about missing GPUs cannot be tried here."""
    return Path("/proc/driver/nvidia").exists()


CONFIG = [
    bad
    for bad in [*RECIPES, *NETWORKS, *METHODS, *JOBS]
    if not (there_is_a_gpu() and bad.words == ["run.accelerator=gpu"])
]
