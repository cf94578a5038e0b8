"""The named pipelines, from the model as Hugging Face defines it to the instructions of each SM.

Each entry can be run by its name (`amk-opt -p lower FILE`), with options that go to those of its
passes that have them: `amk-opt -p 'lower{num-sms=132}' FILE`.
"""

PIPELINES = {
    # model -> model: fewer, larger operators. Every hop between SMs costs about a microsecond, and
    # a fused operator is one hop. Appends first: attention normalizes only rows that it appends.
    # Then qkv, because it needs the plain linears; norms into whatever reads them, and what is left
    # of them takes residuals, as matrices do.
    "fuse": (
        "fuse-append,fuse-qkv,fuse-gate-up,fuse-activation,fuse-norm,fuse-residual,fuse-lm-head,"
        "verify-model"
    ),
    # model -> task: operators become families of tiles on buffers. Tiles before synchronization,
    # which follows from the overlap of what tiles write and read.
    "to-task": "convert-model-to-task,choose-tiles,insert-sync,verify-task",
    # task -> sched: who runs what. Assignment balances bytes; order makes queues deadlock-free; the
    # stream plan fits the weights through shared memory; placement lets layers share buffers, and
    # needs the final order for its proof.
    "to-sched": (
        "convert-task-to-sched,assign-sms,order-queues,plan-stream,place-buffers,verify-sched"
    ),
    # sched -> vm: every address, epoch and counter resolved; the proofs are made again on the final
    # program.
    "to-vm": "convert-sched-to-vm,verify-vm",
    # All of it.
    "lower": "fuse,to-task,to-sched,to-vm",
    # The same without any fusion: every operator its own kernel. Slow, and a check of each kernel
    # by itself.
    "lower-unfused": "to-task,to-sched,to-vm",
}
