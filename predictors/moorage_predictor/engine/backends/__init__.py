"""The engines, each behind `Backend` and imported only when it is used.

| name          | precisions        | needs                                    |
|---------------|-------------------|------------------------------------------|
| `eager`       | fp32, bf16, fp16  | nothing beside torch; also on CUDA       |
| `compile`     | fp32, bf16        | a C++ compiler, at every start           |
| `aot`         | fp32, bf16        | a C++ compiler when it is built          |
| `onnxruntime` | fp32              | the extra `onnxruntime`                  |
| `openvino`    | fp32, bf16, int8  | the extra `openvino`                     |
"""
