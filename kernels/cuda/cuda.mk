# The CUDA backend: the files of kernels/cuda/, by nvcc.  Included by the Makefile.
#   make cuda         build/libllmrun-cuda.so where nvcc is found, else one line that says so
#   CUDA_ARCHS="75 80 86 89 90 100 120"   code for these, and PTX of the last for what comes after.  The default is
#       the GPU of this machine; where there is none, 75 80 90 100 120, which every card from Turing on can run
#       (86 and 89 run the code of 80): two minutes on two cores
# The CUDA runtime is linked statically; the file needs libc alone, and finds the driver when it is opened.
NVCC       ?= nvcc
NVCC_FOUND := $(shell command -v $(NVCC) 2>/dev/null)
CUDA_DIR   ?= $(BUILD)/cuda
CUDA_LIB   := $(if $(NVCC_FOUND),$(CUDA_DIR)/libllmrun-cuda.so)
CUDA_SRC   := $(wildcard kernels/cuda/*.cu)
CUDA_OBJ   := $(CUDA_SRC:kernels/cuda/%.cu=$(CUDA_DIR)/%.o)
CUDA_HOST  := -fPIC,-fvisibility=hidden,-fno-exceptions,-fno-threadsafe-statics,-Wall,-Wextra
ifdef NVCC_FOUND
CUDA_KNOWN := $(patsubst compute_%,%,$(shell $(NVCC) --list-gpu-arch))
CUDA_SMALL := $(shell $(NVCC) --help | grep -q -- --compress-mode && echo --compress-mode=size)
endif
CUDA_HERE  := $(sort $(subst .,,$(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null)))
CUDA_ARCHS ?= $(or $(filter $(CUDA_KNOWN),$(CUDA_HERE)),$(filter $(CUDA_KNOWN),75 80 90 100 120))
CUDA_LAST   = $(lastword $(CUDA_ARCHS))
CUDA_CODE   = $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$a,code=sm_$a) \
              -gencode arch=compute_$(CUDA_LAST),code=compute_$(CUDA_LAST)
CUDA_FLAGS  = -std=c++17 -I. -O3 $(CUDA_CODE) $(CUDA_SMALL) -t 0 -Xcompiler $(CUDA_HOST) -cudart static

$(CUDA_DIR)/%.o: kernels/cuda/%.cu $(CUDA_DIR)/archs
	@echo "  compile $< (nvcc)"
	$(Q)$(NVCC) $(CUDA_FLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

$(CUDA_DIR)/libllmrun-cuda.so: $(CUDA_OBJ) $(BACKEND_OBJ) kernels/backend.map
	@echo "  link $@"
	$(Q)$(CC) -shared -Wl,-soname,$(@F) -Wl,--no-undefined -Wl,--version-script=kernels/backend.map -o $@ \
	    $(CUDA_OBJ) $(BACKEND_OBJ) -L$(dir $(NVCC_FOUND))../lib64 -lcudart_static -lpthread -ldl -lrt -lm

# Another list of architectures compiles all anew.
$(CUDA_DIR)/archs: FORCE
	@mkdir -p $(@D)
	@echo '$(CUDA_ARCHS)' | cmp -s - $@ || echo '$(CUDA_ARCHS)' > $@

# Programs look for backends beside themselves.
$(BUILD)/libllmrun-cuda.so $(BUILD)/tests/libllmrun-cuda.so: $(CUDA_LIB)
	@mkdir -p $(@D)
	@ln -sf $(patsubst $(BUILD)/%,$(if $(findstring /tests/,$@),../)%,$<) $@

cuda: $(if $(NVCC_FOUND),$(BUILD)/libllmrun-cuda.so $(BUILD)/tests/libllmrun-cuda.so)
ifndef NVCC_FOUND
	@echo "  no nvcc: without the CUDA backend"
endif

.PHONY: cuda FORCE
-include $(CUDA_OBJ:.o=.d)
