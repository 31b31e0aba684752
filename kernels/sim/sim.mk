# The simulated GPU: its runtime, the backend on it, and the tests that run .cu files on it.  Included by the Makefile.
#   make sim          build/libllmrun-sim.so: the files of kernels/cuda/, by g++
#   make sim-unit     build/tests/test_sim_*; part of unit, and so of both sanitizer builds
#   make nvcc-check   the test kernels also compile for hardware (status 77 without nvcc)
CXX       ?= g++
SIM_WARN  := -Wall -Wextra -Wshadow -Wpointer-arith
SIM_FLAGS := -std=c++17 -I. -Ikernels/sim -ffp-contract=off $(SIM_WARN) -fPIC -fvisibility=hidden -MMD -MP
SIM_SRC   := $(wildcard kernels/sim/*.cpp)
SIM_OBJ   := $(SIM_SRC:%.cpp=$(BUILD)/%.o)
SIM_TESTS := $(patsubst tests/sim/%.cpp,$(BUILD)/tests/%,$(wildcard tests/sim/test_sim_*.cpp))
# What only hardware has: its platform and NVML.
SIM_CU    := $(filter-out kernels/cuda/hardware.cu kernels/cuda/nvml.cu,$(wildcard kernels/cuda/*.cu))
SIM_CU_OBJ := $(SIM_CU:%.cu=$(BUILD)/%.cu.o)
SIM_LIB   := $(BUILD)/libllmrun-sim.so
# TSan watches the kernels; the runtime under them tells it what synchronizes, and must not be watched itself.
SIM_SAN   := $(if $(findstring thread,$(SAN)),-DSIMGPU_TSAN,$(SAN))

$(BUILD)/kernels/sim/%.o: kernels/sim/%.cpp
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CXX) $(SIM_FLAGS) $(OPT) $(SIM_SAN) -c -o $@ $<

$(BUILD)/%.cu.o: %.cu
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CXX) $(SIM_FLAGS) $(OPT) $(SAN) -x c++ -c -o $@ $<

# What backends share with the library, in C.
BACKEND_OBJ := $(patsubst %.c,$(BUILD)/%.o,kernels/act.c kernels/gpu_facts.c kernels/kv.c runtime/base.c $(wildcard quant/*.c))

$(SIM_LIB): $(SIM_OBJ) $(SIM_CU_OBJ) $(BACKEND_OBJ) kernels/backend.map
	@echo "  link $@"
	$(Q)$(CXX) $(SAN) -shared -Wl,-soname,$(@F) -Wl,--no-undefined -Wl,--version-script=kernels/backend.map \
	    -o $@ $(SIM_OBJ) $(SIM_CU_OBJ) $(BACKEND_OBJ) -lpthread -lm

# What needs kernels and backends alone is linked with them alone: it builds where the library's dependencies are missing.
KERNEL_OBJ := $(BACKEND_OBJ) $(patsubst %.c,$(BUILD)/%.o,runtime/backends.c $(wildcard kernels/cpu/*.c))
$(BUILD)/tests/checkkernels: tests/checkkernels.c $(KERNEL_OBJ)
$(BUILD)/bench/bench_gpu: tests/bench/bench_gpu.c $(KERNEL_OBJ)
$(BUILD)/tests/checkkernels $(BUILD)/bench/bench_gpu:
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CC) $(CFLAGS) -o $@ $< $(KERNEL_OBJ) -lpthread -ldl -lm

# Programs look for backends beside themselves.
$(BUILD)/tests/libllmrun-sim.so $(BUILD)/bench/libllmrun-sim.so: $(SIM_LIB)
	@mkdir -p $(@D)
	@ln -sf ../libllmrun-sim.so $@

$(BUILD)/tests/test_sim_%: tests/sim/test_sim_%.cpp $(BUILD)/tests/sim/kernels.cu.o $(SIM_OBJ)
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CXX) $(SIM_FLAGS) $(OPT) $(SAN) -o $@ $(filter %.cpp %.o %.a,$^) -lpthread
$(BUILD)/tests/test_sim_gemm: $(addprefix $(BUILD)/kernels/cuda/,gemm.cu.o gemm_fma.cu.o cublas.cu.o) $(BUILD)/libllmrun.a
$(BUILD)/tests/test_sim_attention: $(patsubst %,$(BUILD)/kernels/cuda/%.cu.o,attention_few attention_many \
    attention_plain qkv norm elementwise) $(BUILD)/libllmrun.a
$(BUILD)/tests/test_sim_gemv: $(patsubst %,$(BUILD)/kernels/cuda/%.cu.o,gemv gemv_glu norm elementwise embed) \
    $(BUILD)/libllmrun.a

sim: $(SIM_LIB) $(BUILD)/tests/libllmrun-sim.so
sim-unit: $(SIM_TESTS)
unit threaded: $(SIM_TESTS)

nvcc-check:
	@bash tests/sim/nvcc.sh "$(NVCC)"

.PHONY: sim sim-unit nvcc-check
.SECONDARY: $(SIM_OBJ) $(BUILD)/tests/sim/kernels.cu.o
-include $(SIM_OBJ:.o=.d) $(SIM_CU_OBJ:.o=.d) $(SIM_TESTS:=.d) $(BUILD)/tests/sim/kernels.cu.d
