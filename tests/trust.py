"""What is promised, which tests hold it, what they saw: ``python -m tests.trust`` runs them and fills docs/trust.md.

A promise is a row of `PROMISES`: its subject, what is promised, the tests as ``file::name``, and commands, if there are
any that look for longer.  ``--only files`` runs those of one subject and leaves the other rows as they are; ``--long``
runs the commands as well, and writes the last line that each printed.
"""

import argparse
import ast
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "trust.md"
MARKS = "<!-- made by python -m tests.trust -->\n", "<!-- end -->\n"
HEAD = "| | promised | tested by | seen |\n| --- | --- | --- | --- |\n"
SECONDS = 7200  # of all tests together, on a busy machine
NOT_YET = "not yet"


class Promise(NamedTuple):
    """What users may rely on."""

    subject: str
    text: str
    tests: tuple[str, ...]
    commands: tuple[str, ...] = ()


PROMISES = (
    Promise(
        "gradient",
        "the cost and its gradient, of every activation with every loss that fits it, are those of an independent loop "
        "in NumPy, of the complex step, of differences of fourth order, of the sum over all paths, and of torch",
        (
            "test_gradient.py::test_reference",
            "test_gradient.py::test_complex_step",
            "test_gradient.py::test_fourth_order_differences",
            "test_gradient.py::test_random_networks_against_complex_step",
            "test_gradient.py::test_random_networks_against_reference",
            "test_gradient.py::test_saturated_outputs_keep_their_digits",
            "test_reference.py::test_gradient_against_sum_over_paths",
            "test_gradient_torch.py::test_value_and_gradient_against_torch",
        ),
    ),
    Promise(
        "gradient",
        "every kernel, for narrow and wide layers, few and many rows, takes the steps of the reference",
        (
            "test_paths.py::test_random_networks_take_the_reference_s_steps",
            "test_step.py::test_every_step_is_that_of_the_reference",
            "test_sparse.py::test_steps_of_every_optimizer",
        ),
    ),
    Promise(
        "gradient",
        "the vectorised functions keep within their stated errors",
        (
            "test_vector_math.py::test_error_is_within_the_stated_bound",
            "test_vector_math.py::test_error_against_mpmath",
            "test_vector_math.py::test_relative_accuracy_at_the_zeros",
        ),
    ),
    Promise(
        "gradient",
        "Jacobians, per-sample gradients and vector-Jacobian products, of every activation with every loss and output, "
        "are those of the complex step (1e-12 in float64) and of torch",
        (
            "test_first_order.py::test_against_the_complex_step",
            "test_first_order.py::test_random_networks",
            "test_first_order.py::test_against_the_reference",
            "test_first_order.py::test_against_torch",
        ),
    ),
    Promise(
        "gradient",
        "products with the Hessian are those of the complex step of an independent gradient (1e-11 in float64), those "
        "with Gauss-Newton's matrix and Fisher's information those of matrices that are formed",
        (
            "test_second_order.py::test_hvp_is_the_complex_step_of_the_gradient",
            "test_second_order.py::test_gnvp_is_the_product_of_the_whole_matrix",
            "test_second_order.py::test_fisher_vp_is_the_expected_outer_product_of_gradients",
            "test_higher_derivatives.py::test_built_in_activations_have_mpmaths_derivatives",
        ),
    ),
    Promise(
        "gradient",
        "Laplacians, Hessians by the inputs and gradients of physics losses are those of Taylor series and of the "
        "complex step",
        (
            "test_laplacian.py::test_values_first_derivatives_and_laplacians",
            "test_laplacian.py::test_fourth_order_differences_of_the_outputs",
            "test_laplacian.py::test_gradients_of_physics_losses",
            "test_laplacian.py::test_jax_agrees",
        ),
    ),
    Promise(
        "least squares",
        "J^T J is that of the complex step's Jacobian (1e-12), the tries of Levenberg-Marquardt are those of plain "
        "NumPy, and NIST's certified regressions are found to ten digits",
        (
            "test_normal_equations.py::test_against_the_jacobian",
            "test_levenberg_marquardt.py::test_the_decisions_of_a_plain_twin",
            "test_levenberg_marquardt.py::test_certified_fits",
            "test_levenberg_marquardt.py::test_the_cost_falls_and_is_the_networks",
        ),
    ),
    Promise(
        "least squares",
        "L-BFGS goes SciPy's way and finds its minimum to 1e-8; the cost never rises",
        (
            "test_lbfgs.py::test_the_minimum_is_that_of_scipy",
            "test_lbfgs.py::test_the_path_is_that_of_scipy",
            "test_lbfgs.py::test_the_cost_never_rises",
        ),
    ),
    Promise(
        "same bits",
        "the same seed gives the same bits on any number of threads",
        (
            "test_threads.py::test_same_gradient",
            "test_threads.py::test_same_outputs_and_cost",
            "test_threads.py::test_same_training_for_every_optimizer",
            "test_threads.py::test_same_training_with_dropout",
            "test_sparse.py::test_outputs_have_the_same_bits_on_any_number_of_threads",
            "test_first_order.py::test_bits_do_not_depend_on_threads",
            "test_second_order.py::test_bits_do_not_depend_on_threads_and_values_not_on_the_cut",
            "test_laplacian.py::test_threads_change_no_bit",
            "test_levenberg_marquardt.py::test_bits_do_not_depend_on_threads",
            "test_lbfgs.py::test_the_number_of_threads_changes_no_bit",
            "test_neural_network_interface.py::test_the_number_of_threads_changes_no_bit",
        ),
    ),
    Promise(
        "same bits",
        "`step` has the bits of `fit`, whole epochs at once those of one after the other",
        ("test_step.py::test_bits_are_those_of_fit", "test_step.py::test_bits_are_those_of_fit_on_every_path"),
    ),
    Promise(
        "resume",
        "a fit that is killed, or ended by Ctrl-C, and resumed ends with the bits of one that never was",
        (
            "test_checkpoint.py::test_killed_at_random_moments",
            "test_checkpoint.py::test_resumed_within_an_epoch",
            "test_checkpoint.py::test_resumed_with_other_batches_and_threads",
            "test_interruption.py::test_interrupted_and_resumed_again_and_again",
            "test_sparse.py::test_a_fit_of_sparse_rows_is_resumed",
            "test_lbfgs.py::test_interrupted_at_any_moment_and_resumed",
            "test_levenberg_marquardt.py::test_interrupted_anywhere",
            "test_whole_batch.py::test_resumed_after_ctrl_c",
        ),
    ),
    Promise(
        "files",
        "files are written whole or not at all",
        (
            "test_storage.py::test_a_failure_leaves_the_old_file_and_nothing_else",
            "test_storage.py::test_a_write_that_the_system_cuts_short",
            "test_storage.py::test_whoever_has_the_old_file_keeps_it",
            "test_checkpoint.py::test_a_full_disk_leaves_the_last_checkpoint_and_a_usable_network",
            "test_whole_files.py::test_killed_at_every_step",
            "test_whole_files.py::test_many_processes_write_at_once",
            "test_whole_files.py::test_a_disk_that_is_full",
        ),
    ),
    Promise(
        "files",
        "any damage is one `FileError`; no file crashes, hangs or takes much memory",
        (
            "test_storage.py::test_damaged_files",
            "test_storage.py::test_tables_that_cannot_be_true",
            "test_storage.py::test_descriptions_that_cannot_be_true",
            "test_checkpoint.py::test_damaged_checkpoints",
            "test_checkpoint.py::test_impossible_checkpoints",
            "test_estimator_files.py::test_mutated_descriptions",
            "test_fuzz_files.py::test_many_mutated_files",
        ),
        ("python -m tests.fuzz_files --count 20000",),
    ),
    Promise(
        "files",
        "files and pickles of earlier versions stay readable",
        (
            "test_saved_files.py::test_networks",
            "test_saved_files.py::test_classifiers",
            "test_saved_files.py::test_checkpoints_are_resumed",
            "test_saved_pickles.py::test_networks_go_on",
            "test_saved_pickles.py::test_estimators_go_on",
        ),
    ),
    Promise(
        "drop-in",
        "`MLPClassifier` and `MLPRegressor` are scikit-learn's: the same numbers, arguments, attributes and checks",
        (
            "test_neural_network_parity.py::test_fit",
            "test_neural_network_parity.py::test_sample_weights",
            "test_neural_network_parity.py::test_partial_fit",
            "test_neural_network_parity.py::test_every_parameter_and_method_of_scikit_learn_is_there",
            "test_neural_network_interface.py::test_scikit_learns_checks",
            "test_neural_network_interface.py::test_grid_search_in_two_processes",
        ),
    ),
    Promise(
        "threads, forks, signals",
        "threads, forks and pools of processes may all train at once",
        (
            "test_threads.py::test_eight_python_threads_share_one_network",
            "test_threads.py::test_eight_python_threads_train_networks_of_their_own",
            "test_threads.py::test_forked_while_other_threads_are_computing",
            "test_concurrency.py::test_sixteen_threads_train_and_predict",
            "test_concurrency.py::test_fork_after_a_threaded_fit_again_and_again",
            "test_concurrency.py::test_pools",
            "test_soak.py::test_threads_work_for_some_seconds",
        ),
    ),
    Promise(
        "threads, forks, signals",
        "a signal's handler and garbage that is collected may predict and train at any moment; however many signals "
        "come, a call ends by what their handlers raise, and when its kernel has returned",
        (
            "test_signals.py::test_a_handler_predicts_and_trains_in_the_middle_of_everything",
            "test_signals.py::test_garbage_that_predicts_when_it_is_collected",
            "test_signals.py::test_two_signals_at_once_end_a_long_call_by_an_exception_of_theirs",
            "test_signals.py::test_no_storm_of_exceptions_ends_the_wait_for_a_kernel",
            "test_signals.py::test_a_storm_of_exceptions_crashes_nothing",
        ),
    ),
    Promise(
        "threads, forks, signals",
        "a process may be forked while it compiles, loads or trains, and the child works",
        (
            "test_forks.py::test_forks_while_a_thread_loads_the_kernels",
            "test_forks.py::test_forks_while_a_thread_compiles",
            "test_forks.py::test_a_fork_from_within_a_compilation",
            "test_forks.py::test_forks_during_fits_in_another_thread_and_in_the_main_thread",
        ),
    ),
    Promise(
        "threads, forks, signals",
        "a network is trained once at a time; what may be done beside that is right",
        (
            "test_alone.py::test_another_training_is_refused_in_another_thread",
            "test_alone.py::test_another_training_is_refused_in_a_callback",
            "test_alone.py::test_it_is_over_after_ctrl_c_at_any_place",
            "test_alone.py::test_everything_else_may_be_done_beside_it",
        ),
    ),
    Promise(
        "threads, forks, signals",
        "where no thread can be had, the work is done alone",
        (
            "test_refused_threads.py::test_a_real_limit_of_threads",
            "test_refused_threads.py::test_threads_that_are_refused_for_a_while",
        ),
    ),
    Promise(
        "threads, forks, signals",
        "Ctrl-C is obeyed within a block of rows, and leaves a usable network",
        (
            "test_interruption.py::test_long_calls_obey_ctrl_c",
            "test_interruption.py::test_a_second_ctrl_c_does_not_tear_anything",
            "test_interruption.py::test_a_fit_goes_on_from_the_last_finished_step",
        ),
    ),
    Promise(
        "arrays",
        "arrays that change while they are worked on give other numbers or an error, and never end the process",
        (
            "test_ownership.py::test_labels_are_those_of_the_beginning",
            "test_ownership.py::test_labels_that_change_far_outside_end_no_process",
            "test_ownership.py::test_another_thread_may_write_to_everything_at_any_time",
            "test_changed_meanwhile.py::test_arrays_change",
            "test_changed_meanwhile.py::test_parameters_change",
        ),
    ),
    Promise(
        "arrays",
        "wrong input gets an error that names the argument, the rule and the cure, before any kernel runs",
        (
            "test_wrong_input.py::test_inputs",
            "test_wrong_input.py::test_targets",
            "test_wrong_arguments_fuzz.py::test_each_argument_in_turn",
            "test_wrong_arguments_fuzz.py::test_several_arguments_at_random",
        ),
    ),
    Promise(
        "memory",
        "steps allocate nothing; what does not fit into the memory, or a container's limit, is refused before",
        (
            "test_memory.py::test_steps_allocate_nothing",
            "test_memory.py::test_repeated_calls_keep_no_memory",
            "test_limits.py::test_parameters_that_do_not_fit",
            "test_limits.py::test_training_that_does_not_fit",
            "test_process_limits.py::test_available_memory_is_that_of_the_smallest_group",
            "test_process_limits.py::test_what_a_limit_of_the_process_leaves_is_what_the_system_gives",
        ),
    ),
    Promise(
        "cache",
        "compiled kernels are read only where nobody else can have written them, and only for what they were made for",
        (
            "test_disk_cache.py::test_what_belongs_to_somebody_else_is_passed_over",
            "test_disk_cache.py::test_a_folder_that_others_may_write_to_is_passed_over",
            "test_disk_cache.py::test_a_folder_that_is_exchanged_after_the_first_look_is_passed_over",
            "test_disk_cache.py::test_a_link_in_the_place_of_a_file_is_passed_over",
            "test_disk_cache.py::test_a_damaged_file_is_compiled_again",
            "test_cache_trust.py::test_nothing_is_believed_below_a_folder_that_others_may_write_to",
            "test_cache_trust.py::test_a_link_of_somebody_else_is_not_followed",
            "test_cache_trust.py::test_an_attackers_command_does_not_run",
            "test_cache_trust.py::test_root_leaves_nothing_in_a_users_home",
            "test_disk_cache.py::test_a_kernel_of_other_compiler_options_is_not_used",
        ),
    ),
    Promise(
        "versions",
        "Numba's private names only save time: without them, or with others in their place, the results are the same",
        (
            "test_numba_private.py::test_an_import_without_one_of_the_names_is_silent_and_takes_the_other_path",
            "test_numba_private.py::test_without_a_group_the_results_are_the_same_and_one_warning_says_what_is_slower",
            "test_numba_private.py::test_a_name_that_takes_other_arguments_is_not_used",
            "test_numba_private.py::test_a_method_that_takes_other_arguments_is_not_used",
        ),
        ("python -m tests.with_versions --pre",),
    ),
    Promise(
        "versions",
        "scikit-learn's private names have others that stand in for them, with the same results and messages",
        (
            "test_sklearn_private.py::test_without_one_of_them_or_if_it_does_otherwise_fit_gives_the_same",
            "test_sklearn_private.py::test_parameters_are_refused_in_scikit_learns_words",
        ),
    ),
    Promise(
        "versions",
        "a library that has lost something public is named, with the versions that have it",
        ("test_versions.py::test_a_lost_name_is_said_with_the_versions_that_have_it",),
    ),
    Promise(
        "processors",
        "the kernels use no instruction that the processor lacks, and pass the tests as on a lesser one",
        (
            "test_other_processors.py::test_no_foreign_instructions",
            "test_other_processors.py::test_selected_tests_pass_on_a_lesser_processor",
            "test_other_processors.py::test_more_instructions_than_the_processor_has_are_refused",
            "test_plain_python.py::test_plain_python_agrees_with_compiled",
        ),
    ),
    Promise(
        "compiled code, C, ONNX",
        "a network inside the user's compiled code, and `predict_one`, have the bits of `predict`, of every "
        "activation and loss; gradients there are those of the complex step, and steps those of `Network.step`",
        (
            "test_compiled.py::test_one_row_has_the_bits_of_the_network",
            "test_compiled.py::test_rows_together",
            "test_compiled.py::test_derivatives_by_the_complex_step",
            "test_compiled.py::test_steps_are_those_of_the_network",
            "test_predict_one.py::test_bits_are_those_of_predict",
        ),
    ),
    Promise(
        "compiled code, C, ONNX",
        "there it needs no Python and allocates nothing, keeps alive what it uses, is called by any number of "
        "threads, and refuses arrays of other types and shapes before anything is written",
        (
            "test_compiled.py::test_the_evaluator_allocates_nothing_and_needs_no_python",
            "test_compiled.py::test_many_threads",
            "test_compiled.py::test_another_shape",
            "test_compiled.py::test_another_type",
            "test_compiled_lifetimes.py::test_networks_that_come_and_go",
            "test_compiled_lifetimes.py::test_a_users_function_is_compiled_once_for_all_processes",
            "test_predict_one.py::test_wrong_arguments",
        ),
    ),
    Promise(
        "compiled code, C, ONNX",
        "a network written as C has the bits of `predict`, by every compiler at hand, optimised or not, and on a "
        "Cortex-M; without fused multiply-adds it keeps within a bound worked out from its parameters",
        (
            "test_c.py::test_outputs_have_the_same_bits",
            "test_c.py::test_without_fused_multiply_adds_outputs_are_within_the_bounds",
            "test_c.py::test_a_file_knows_its_header",
            "test_c_microcontrollers.py::test_cortex_m_computes_the_same_bits",
            "test_c_estimators.py::test_c_says_what_python_says",
        ),
    ),
    Promise(
        "compiled code, C, ONNX",
        "in fixed point C has the bits of a twin in NumPy, on a computer, an Arm and an AVR, without a floating-point "
        "number, and errors are within a proven bound while nothing is cut off",
        (
            "test_fixed_point.py::test_c_has_the_bits_of_the_twin",
            "test_fixed_point.py::test_a_layer_is_what_integers_of_any_length_give",
            "test_fixed_point.py::test_the_error_is_small_and_within_its_bound",
            "test_fixed_point.py::test_arm_has_the_same_bits",
            "test_fixed_point.py::test_avr_has_the_same_bits",
        ),
    ),
    Promise(
        "compiled code, C, ONNX",
        "an ONNX model becomes a network that computes what onnxruntime does, or one error that names the first node "
        "that it cannot have; damaged and hostile models take little time and memory and open no other file",
        (
            "test_from_onnx.py::test_there_and_back",
            "test_from_onnx.py::test_modules_of_torch",
            "test_from_onnx_at_random.py::test_random_graphs",
            "test_from_onnx_refused.py::test_the_first_node_that_cannot_be_taken",
            "test_from_onnx_refused.py::test_damaged_and_unusual_models",
            "test_from_onnx_refused.py::test_a_mutated_model_is_an_error_or_the_network_that_it_says",
        ),
        ("python -m tests.fuzz_onnx --count 20000",),
    ),
    Promise(
        "many networks",
        "each of many networks that are trained in one call ends with the bits, the history and the optimizer's state "
        "of its own `fit`, whatever the others and the threads do; on rows of its own with those of a copy of these",
        (
            "test_many.py::test_each_network_is_that_of_its_own_fit",
            "test_many.py::test_rows_are_those_of_a_copy",
            "test_many.py::test_each_stops_early_by_itself",
            "test_many.py::test_what_needs_python_between_epochs",
            "test_many.py::test_outputs_are_those_of_predict",
            "test_many_mixtures.py::test_networks_have_the_bits_of_their_own_fits",
            "test_lanes.py::test_activations",
            "test_lanes.py::test_narrow_networks",
            "test_lanes.py::test_one_that_diverges_disturbs_no_other",
        ),
    ),
    Promise(
        "many networks",
        "a search has the scores of scikit-learn's `GridSearchCV` over the same estimator to the last bit, and each "
        "member of an ensemble the bits of its own fit",
        (
            "test_grid_search.py::test_the_same_results",
            "test_ensembles.py::test_each_member_has_the_bits_of_its_own_fit",
            "test_epochs_of_estimators.py::test_several_epochs_are_those_of_single_calls",
        ),
    ),
    Promise(
        "many networks",
        "one that diverges does not stop the others, Ctrl-C and a pause lose no step, a run that goes on from "
        "checkpoints ends with the bits of one that was never interrupted, and a wrong argument changes nothing",
        (
            "test_many.py::test_one_that_diverges_does_not_stop_the_others",
            "test_many_interrupted.py::test_ctrl_c_anywhere_between_the_records_loses_no_step",
            "test_many.py::test_a_checkpoint_ends_with_the_same_bits",
            "test_many.py::test_pauses_for_checkpoints_change_no_bit",
            "test_many.py::test_wrong_arguments_change_nothing",
        ),
    ),
    Promise(
        "Dask",
        "a fit by all rows of a cluster follows the path of one machine to the order of summation, for every "
        "optimizer, and mini-batches of each partition end with the mean that plain loops over the steps find",
        (
            "test_dask.py::test_the_fit_is_that_of_all_rows",
            "test_dask.py::test_every_kind_of_collection",
            "test_dask_whole_batch.py::test_the_path_is_that_of_one_machine",
            "test_dask_exact.py::test_it_is_the_fit_of_one_machine",
            "test_dask_averaged.py::test_parameters_are_the_means_of_the_walks",
            "test_dask_averaged.py::test_one_partition_is_a_local_fit",
            "test_dask_estimators.py::test_a_classifier_that_looks_at_all_rows_is_the_local_one",
            "test_dask_estimators.py::test_a_regressor_that_looks_at_all_rows_is_the_local_one",
        ),
    ),
    Promise(
        "Dask",
        "the bits depend on partitions and seed alone: not on the number of workers, their threads, the order of "
        "arrival, workers that are killed or come and go, or an interruption",
        (
            "test_dask_averaged.py::test_rows_are_shuffled_anew_in_each_epoch_by_the_seed_alone",
            "test_dask_exact.py::test_workers_and_the_order_of_arrival_do_not_show",
            "test_dask_whole_batch.py::test_interrupted_anywhere_and_resumed",
            "test_dask_estimators.py::test_bits_depend_on_the_seed_and_on_no_worker",
            "test_dask_faults.py::test_killed_workers_change_no_bit",
            "test_dask_faults.py::test_workers_that_come_and_go_change_no_bit",
        ),
    ),
    Promise(
        "Dask",
        "wrong rows are one error that names the partition and the rule, and change nothing; nothing waits for ever, "
        "and a fit that ends leaves nothing on the cluster",
        (
            "test_dask.py::test_wrong_data_are_refused",
            "test_dask_estimators.py::test_wrong_input_is_refused_and_changes_nothing",
            "test_dask_faults.py::test_a_killed_scheduler",
            "test_dask_faults.py::test_a_closed_client",
            "test_dask_threads.py::test_a_fit_without_a_cluster_leaves_nothing",
        ),
    ),
    Promise(
        "first minute",
        "`fastbp train` and `fastbp predict` give the numbers of the same pipeline in Python, say what they found out, "
        "and end with one line for every wrong file, option or table; their models are files without pickle",
        (
            "test_command_line_train.py::test_classes",
            "test_command_line_train.py::test_what_is_left_out_is_said",
            "test_command_line_train.py::test_the_same_seed_gives_the_same_file",
            "test_command_line_predict.py::test_every_format_of_input",
            "test_command_line_errors.py::test_a_wrong_table",
            "test_command_line_errors.py::test_a_wrong_file",
            "test_table_pipelines.py::test_a_file_gives_the_same_bits",
            "test_table_pipelines.py::test_a_hostile_file",
            "test_table_pipelines.py::test_a_file_of_bytes_changed",
        ),
    ),
    Promise(
        "first minute",
        "what the guides claim is asserted when they run, every public name has a page, and no text of a picture "
        "covers another or is cut off",
        (
            "test_guides.py::test_a_guide_runs_and_leaves_nothing_behind",
            "test_site.py::test_the_reference_has_every_public_name_once_and_no_other",
            "test_site.py::test_each_link_of_a_page_leads_to_a_file",
            "test_plotting_texts.py::test_every_text_can_be_read",
            "test_plotting_texts.py::test_every_display_is_among_the_pictures",
        ),
    ),
    Promise(
        "first minute",
        "metrics of each epoch are those of scikit-learn on the outputs, also in a fit that is resumed; files from "
        "objects and bytes are read like those by name",
        (
            "test_metrics.py::test_scores_are_those_of_scikit_learns_own_estimator",
            "test_metrics.py::test_a_resumed_fit_has_the_same_metrics",
            "test_metrics.py::test_a_metric_that_raises",
            "test_streams.py::test_every_kind_of_file_has_the_bytes_of_one_by_name",
            "test_streams.py::test_garbage_without_an_end",
            "test_streams.py::test_a_size_that_is_a_lie_takes_no_memory",
        ),
    ),
    Promise(
        "first minute",
        "type checkers accept what the documentation shows and find some 130 planted mistakes; what would be published "
        "is of one version everywhere, and the links of its README lead to what there is",
        (
            "test_types.py::test_a_type_checker_sees_the_mistakes_and_nothing_else",
            "test_release.py::test_the_published_readme_links_to_what_there_is_at_the_tag",
            "test_release.py::test_the_citation_is_of_this_version",
            "test_release.py::test_the_recipe_is_of_this_version_and_its_requirements",
        ),
    ),
)
# Commands whose results have a table of their own in the page.
ELSEWHERE = {"python -m tests.with_versions --pre": "see [versions](#versions)"}


def functions(path):
    """The names of the tests in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


# ---- The page ------------------------------------------------------------------------------------------------------


def tested_by(promise):
    """The tests and commands of a promise, in Markdown."""
    files = {}
    for test in promise.tests:
        file, _, name = test.partition("::")
        files.setdefault(file, []).append(f"`{name}`")
    lines = [f"[{file}](../tests/{file}): {', '.join(names)}" for file, names in files.items()]
    return "<br>".join([*lines, *(f"`{command}`" for command in promise.commands)])


def rendered(seen):
    """The table, with what was seen of each promise."""
    rows, last = [], None
    for promise in PROMISES:
        subject = promise.subject if promise.subject != last else ""
        last = promise.subject
        rows.append(f"| {subject} | {promise.text} | {tested_by(promise)} | {seen.get(promise.text, NOT_YET)} |\n")
    return HEAD + "".join(rows)


def between_marks(page, marks=MARKS):
    """What stands between the marks, and what before and behind."""
    begin, end = page.index(marks[0]) + len(marks[0]), page.index(marks[1], page.index(marks[0]))
    return page[begin:end], page[:begin], page[end:]


def seen_before(page):
    """What a page says was seen, by the text of the promise."""
    rows = [line.strip("|").split(" | ") for line in between_marks(page)[0].removeprefix(HEAD).splitlines()]
    return {row[1].strip(): row[3].strip() for row in rows}


# ---- The tests -----------------------------------------------------------------------------------------------------


def outcomes(tests):
    """Run tests; return (file::name, how it ended) of each case."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        ids = [f"tests/{test}" for test in tests]
        subprocess.run([*command, *ids], cwd=ROOT, timeout=SECONDS, check=False)
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            end = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            yield f"{case.get('classname').rpartition('.')[2]}.py::{case.get('name').partition('[')[0]}", end


def counted(promise, ends):
    """What was seen of the tests of a promise."""
    of_these = [end for test, end in ends if test in promise.tests]
    counts = {end: of_these.count(end) for end in ("passed", "failed", "skipped")}
    return ", ".join(f"{count:,} {end}" for end, count in counts.items() if count or end == "passed")


def last_line(command):
    """Run one of the commands; return the last line of its output."""
    program = [sys.executable, *command.split()[1:]]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return (lines or ["nothing"])[-1] if done.returncode == 0 else f"failed: {done.stderr.splitlines()[-1:]}"


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="one subject, or a word of it")
    parser.add_argument("--long", action="store_true", help="the commands as well")
    options = parser.parse_args(arguments)
    page = PAGE.read_text(encoding="utf-8")
    _, before, behind = between_marks(page)
    seen = seen_before(page)
    chosen = [promise for promise in PROMISES if options.only in promise.subject]
    ends = list(outcomes(dict.fromkeys(test for promise in chosen for test in promise.tests)))
    for promise in chosen:
        texts = [counted(promise, ends)]
        # What a command saw at another time stays until it is run again.
        texts += seen.get(promise.text, "").split("<br>")[1:] if not options.long else []
        if options.long:
            texts += [ELSEWHERE.get(command) or last_line(command) for command in promise.commands]
        seen[promise.text] = "<br>".join(texts)
    temporary = PAGE.with_suffix(".part")
    temporary.write_text(before + rendered(seen) + behind, encoding="utf-8")
    os.replace(temporary, PAGE)
    wrong = [test for test, end in ends if end == "failed"]
    print(f"{len(ends):,} cases of {len(chosen)} promises, {len(wrong)} failed", *wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
