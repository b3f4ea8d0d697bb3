"""What a child process gets of this one's environment: what it needs to run, and nothing that opens a door.

In: this process's environment. Out: the part of it that a process may see which holds a model's weights, grades its
answers or makes problems. Keys of services, tokens, proxies and whatever else a shell exports stay here.
"""

from __future__ import annotations

import os
import re

_NAMES = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "GLIBC_TUNABLES", "VIRTUAL_ENV", "CONDA_PREFIX"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"),
        *("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"),
        *("TRANSFORMERS_OFFLINE", "TRANSFORMERS_CACHE", "TOKENIZERS_PARALLELISM"),
        *("HUGGINGFACE_HUB_CACHE", "HF_MODULES_CACHE", "GPU_DEVICE_ORDINAL", "NIX_LD", "NIX_LD_LIBRARY_PATH"),
        *("CC", "CXX", "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH"),  # kernels are compiled when they are first run
        *("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "SYSTEMROOT"),
    }
)
_PREFIXES = (
    *("LC_", "PYTHON", "SPIRITSAFE_", "MALLOC_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "DNNL_", "ONEDNN_", "ATEN_"),
    *("NUMBA_", "NUMEXPR_"),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NCCL_", "NVIDIA_", "ROCR_", "ROCM_", "HIP_", "HSA_", "MIOPEN_"),
    *("TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_"),
)
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|PROXY", re.IGNORECASE)


def child_environment(**more: str) -> dict[str, str]:
    """The environment for a child process.

    Args:
        more: Variables that it gets as well, or with another value.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _NAMES or (name.startswith(_PREFIXES) and not _SECRET.search(name))
    }
    return {**kept, **more}
