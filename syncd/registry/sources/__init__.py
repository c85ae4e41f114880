"""Registry implementations, one file each."""

__all__ = ["directory", "huggingface", "index", "mlflow", "modelscope", "oss_prefix", "pai", "pai_workspace"]
