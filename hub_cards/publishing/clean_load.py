"""Load a model folder as a stranger would; run in a process of its own by `loading.check_model`.

python -I hub_cards/publishing/clean_load.py FOLDER prints one line of JSON: what was loaded, or what was wrong.
"""

import json
import sys


def load(folder: str) -> dict[str, object]:
    """Model, image processor and pipeline of a folder, with its own code.

    Returns:
        `problems`: keys that the weights lack, have too many or in another shape; `parameters`; `values`: numbers that
        the pipeline gave for one image; `finite`: whether all are.
    """
    import numpy as np
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel, pipeline

    model, info = AutoModel.from_pretrained(
        folder, trust_remote_code=True, use_safetensors=True, output_loading_info=True
    )
    problems = {name: sorted(map(str, keys)) for name, keys in info.items() if keys}
    processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
    extractor = pipeline("image-feature-extraction", model=model, image_processor=processor)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    features = np.asarray(extractor(Image.fromarray(pixels)))
    return {
        "problems": problems,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "values": int(features.size),
        "finite": bool(np.isfinite(features).all()),
    }


if __name__ == "__main__":
    # What a stranger has not: without this an editable install would answer for code that the folder lacks.
    for own in ("modeling_zen", "training", "evaluation", "hub_cards"):
        sys.modules[own] = None  # type: ignore[assignment]
    try:
        answer = load(sys.argv[1])
    except Exception as error:  # anything: the code is the folder's
        answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    print(json.dumps(answer))
