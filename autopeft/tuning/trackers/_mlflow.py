"""MLflow: an experiment, and a run per trial; the tracking server is the one that MLflow is set up for."""

import time
from pathlib import Path

from autopeft.tuning.trackers._record import PROJECT, Log, Record, losses


def open_log(folder: Path) -> Log:
    """Returns what logs a record as a run of the experiment, made where it is missing."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient()
    found = client.get_experiment_by_name(PROJECT)
    experiment = found.experiment_id if found is not None else client.create_experiment(PROJECT)

    def log(record: Record) -> None:
        # Not `mlflow.start_run`: a run that the user has open stays as it is.
        run = client.create_run(
            experiment, run_name=f"{folder.name} {record.name}", tags={"search": folder.name, **record.tags}
        )
        now = int(1000 * time.time())
        steps = [
            Metric(name, value, now, reading.tokens)
            for reading in record.curve
            for name, value in losses(reading).items()
        ]
        facts = [Metric(name, value, now, 0) for name, value in record.facts.items()]
        params = [Param(name, str(value)) for name, value in record.settings.items()]
        client.log_batch(run.info.run_id, metrics=[*steps, *facts], params=params)
        client.set_terminated(run.info.run_id)

    return log
