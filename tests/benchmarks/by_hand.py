"""The loop people write by hand: scale, fit with partial_fit, predict, write; prints one JSON line.

usage: by_hand.py DATASET OUT N_CLUSTERS
"""

import json
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.cluster import MiniBatchKMeans
from sklearn.preprocessing import StandardScaler

source, out, n_clusters = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
started = time.perf_counter()
files = sorted(source.glob("*.parquet"))
features = [name for name in pq.read_schema(files[0]).names if name.startswith("f")]
scaler, model = StandardScaler(), MiniBatchKMeans(n_clusters, random_state=0, n_init=3)
for step in (scaler.partial_fit, lambda X: model.partial_fit(scaler.transform(X))):
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(131_072, columns=features):
            step(batch.to_pandas().to_numpy())
out.mkdir(parents=True, exist_ok=True)
inertia, n_rows = 0.0, 0
for path in files:
    source_file = pq.ParquetFile(path)
    schema = source_file.schema_arrow.append(pa.field("cluster_id", pa.int32()))
    with pq.ParquetWriter(out / path.name, schema) as writer:
        for batch in source_file.iter_batches(131_072):
            X = scaler.transform(batch.select(features).to_pandas().to_numpy())
            ids = model.predict(X)
            inertia += float(((X - model.cluster_centers_[ids]) ** 2).sum())
            n_rows += len(X)
            writer.write_batch(batch.append_column("cluster_id", pa.array(ids, pa.int32())).cast(schema))
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
seconds = {"total": time.perf_counter() - started}
result = {"inertia_per_row": inertia / n_rows, "rows": n_rows, "peak_rss_bytes": int(peak) * 1024, "seconds": seconds}
print(json.dumps(result))
