"""The cloud's side: `dedelayed cloud`, which needs no ROS and is started here for convenience."""

from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

from dedelayed_ros.models.zoo import DEFAULT
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """For `ros2 launch dedelayed_ros cloud.launch.py`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('listen', default_value='tcp/0.0.0.0:7447', description='Zenoh endpoint'),
            DeclareLaunchArgument('model', default_value=DEFAULT, description='model of the zoo'),
            DeclareLaunchArgument('offload_model', default_value='street-conv', description='that robots offload'),
            ExecuteProcess(
                cmd=[
                    'dedelayed', 'cloud',
                    '--listen', LaunchConfiguration('listen'),
                    '--model', LaunchConfiguration('model'),
                    '--offload-model', LaunchConfiguration('offload_model'),
                ],
                name='cloud',
                output='screen',
            ),
        ]
    )  # fmt: skip
