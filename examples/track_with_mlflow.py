"""Follow a run in MLflow: vireid train --callback examples/track_with_mlflow.py:MLflow ...

Needs `pip install mlflow`; MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say where it is kept.
"""

import mlflow

from vireid.training import Callback


class MLflow(Callback):
    def on_start(self, run, config):
        mlflow.start_run(run_name=run.name)
        mlflow.log_dict(dict(config), "config.json")
        self.folder = run

    def on_epoch(self, line):
        numbers = {**line["losses"], **line["metrics"], "lr": line["lr"]}
        mlflow.log_metrics(numbers, step=line["global_step"])

    def on_end(self, state):
        mlflow.log_artifact(str(self.folder / "curves.png"))
        mlflow.end_run({"finished": "FINISHED", "stopped": "KILLED"}.get(state, "FAILED"))
