"""Peak memory by tracing: the model is built on torch's meta device and two steps of training run there."""
