"""What DeepSparse's own interpreter runs: it knows nothing of this package, and speaks Python 3.8.

python -I deepsparse_worker.py FILE.onnx THREADS; then a line a batch: where the images lie, a tab, where the features
go. It answers the first line when the file is compiled, with its name, and one line a batch.
"""

import os
import sys

os.environ["NM_DISABLE_ANALYTICS"] = "1"  # before it is imported: else it sends what it is used for


def main(path: str, threads: int) -> None:
    """Compile the file and serve batches until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    import deepsparse
    import numpy as np
    import onnx

    fixed = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value
    engine = deepsparse.compile_model(path, batch_size=fixed, num_cores=threads)
    print("deepsparse", deepsparse.__version__, file=answers, flush=True)
    for line in sys.stdin:
        given, made = line.rstrip("\n").split("\t")
        np.save(made, engine.run([np.load(given)])[0])
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
