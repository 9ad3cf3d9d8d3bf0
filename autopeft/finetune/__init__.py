"""Full training from a tuned config, and predictions of what it leaves."""

from autopeft.finetune.outcomes import Evaluation, Trained
from autopeft.finetune.predict import Prediction, predict_rows
from autopeft.finetune.train import Silent, TrainObserver, train

__all__ = ["Evaluation", "Prediction", "Silent", "TrainObserver", "Trained", "predict_rows", "train"]
