// All kernels, for one cubin an architecture.
#include "motion.cu"
#include "sets.cu"
#include "maps.cu"
#include "conv.cu"
#include "ops.cu"
#include "masks.cu"
#include "features.cu"
