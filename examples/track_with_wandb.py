"""Follow a run in Weights & Biases: vireid train --callback examples/track_with_wandb.py:WandB ...

Needs `pip install wandb`; WANDB_PROJECT and its other variables say where the run is kept.
"""

import wandb

from vireid.training import Callback


class WandB(Callback):
    def on_start(self, run, config):
        self.run = wandb.init(name=run.name, id=run.name, config=dict(config), resume="allow")

    def on_step(self, line):
        losses = {f"loss/{name}": value for name, value in line["losses"].items()}
        self.run.log({**losses, "lr": line["lr"], "epoch": line["epoch"]}, step=line["global_step"])

    def on_epoch(self, line):
        metrics = {f"validation/{name}": value for name, value in line["metrics"].items()}
        self.run.log(metrics, step=line["global_step"])
        self.on_step(line)

    def on_end(self, state):
        self.run.finish(exit_code=0 if state == "finished" else 1)
