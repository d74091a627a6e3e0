"""Print the accuracy that each model bundle records, on validation frames and with sigmas calibrated on other frames.

    python benchmarks/accuracy/models.py

The program prints one JSON line for each shipped model and for each small model in this folder. The figures were
written to the bundles by `lls-decode train` and `lls-decode model recalibrate`; nothing is computed.
"""

import json
from pathlib import Path

from lls_decode.model.bundle import load_bundle
from lls_decode.models import shipped

HERE = Path(__file__).resolve().parent


def main() -> None:
    for path in [*shipped(".lls").values(), *sorted(HERE.glob("*.lls"))]:
        info = load_bundle(path).info
        line = {"benchmark": "models", "model": info.name, "context": info.network.context}
        line |= {"variant": info.network.variant, "filters": info.network.filters}
        line |= {name: info.training[name] for name in ("steps", "seconds")}
        print(json.dumps(line | info.training["accuracy"]))


if __name__ == "__main__":
    main()
